/** Replaces the package in edge runtimes, which have no file system and no `node:http`. Importing it throws an error with this reason. */

function fail(): never {
  throw new Error("attest-client needs Node.js or Bun: an edge runtime has no file system for traces. Log the calls on a server.");
}

fail();

// Bundlers reject imports of names that this module does not export.
export const [LosslessNumber, counters, flush, logTrace, loggedFetch, masks] = [] as undefined[];
