/**
 * Files and folders that no other user can change.
 *
 * On a shared host, another user may create the spool folder first, and put links or files of their own into it.
 */

import * as fs from "node:fs";
import { dirname } from "node:path";

const OTHERS_WRITE = 0o022;
const { O_DIRECTORY = 0, O_NOFOLLOW = 0, O_NONBLOCK = 0, O_RDONLY } = fs.constants; // Windows lacks them

/** Another user can change the file or folder. The message states the reason. */
export class NotPrivate extends Error {}

/** Opens a folder of this user with mode 0700, and creates it if necessary. Throws {@link NotPrivate} if others can change it. */
export function openFolder(path: string): number {
  create(path);
  if (fs.lstatSync(path).isSymbolicLink()) throw new NotPrivate("it is a link");
  const fd = fs.openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    const stat = fs.fstatSync(fd);
    if (!isOwn(stat)) throw new NotPrivate("it belongs to another user");
    if (hasModes() && stat.mode & OTHERS_WRITE) throw new NotPrivate("other users can write to it");
    if (hasModes() && (stat.mode & 0o777) !== 0o700) fs.fchmodSync(fd, 0o700);
    return fd;
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}

/** Returns whether this is a regular file of this user that nobody else can write or has hard-linked. */
export function isPrivate(stat: fs.Stats): boolean {
  return stat.isFile() && isOwn(stat) && (!hasModes() || ((stat.mode & OTHERS_WRITE) === 0 && stat.nlink === 1));
}

/** Returns whether a file or folder belongs to this user. */
export function isOwn(stat: fs.Stats): boolean {
  return !process.geteuid || stat.uid === process.geteuid();
}

/**
 * Opens or creates a file with mode 0600. Neither follows a link nor blocks on a pipe. Throws {@link NotPrivate} if others may change it.
 */
export function openFile(path: string, flags: number): number {
  const fd = fs.openSync(path, flags | O_NOFOLLOW | O_NONBLOCK, 0o600);
  try {
    const stat = fs.fstatSync(fd);
    if (!isPrivate(stat)) throw new NotPrivate("it is not a file that only this user can write");
    if (hasModes() && stat.mode & 0o077) fs.fchmodSync(fd, 0o600);
    return fd;
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}

/** Windows has neither Unix file modes nor numeric owners. */
function hasModes(): boolean {
  return process.platform !== "win32";
}

/** Creates a folder and its parents. Node's `recursive` option loops forever on a file system that returns ENOENT, such as `/proc`. */
function create(path: string): void {
  try {
    fs.mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return;
    const parent = dirname(path);
    if (code !== "ENOENT" || parent === path || fs.existsSync(parent)) throw error;
    create(parent);
    create(path);
  }
}
