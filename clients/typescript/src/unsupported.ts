/** Stands for the package in edge runtimes, which have no files and no `node:http`, so that importing it names the reason. */

function fail(): never {
  throw new Error("attest-client needs Node.js or Bun: an edge runtime has no file system for traces. Log the calls on a server.");
}

fail();

// A bundler would refuse the import of a name that is missing here.
export const [LosslessNumber, counters, flush, logTrace, loggedFetch, masks] = [] as undefined[];
