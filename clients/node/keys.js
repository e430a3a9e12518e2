/**
 * Keys of a client, from the certificates that `ibbridge keygen` makes, and the endpoints that a client takes if it is given
 * none.
 *
 * This module knows files and environment variables. It must not know sockets.
 */

import { readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

import { AuthError } from './errors.js';

/** @typedef {{publicKey: string, secretKey: string, serverKey: string}} Keys  Keys of a CURVE connection, in Z85. */

const TCP = { pub: 'tcp://127.0.0.1:5555', rep: 'tcp://127.0.0.1:5556' };

/**
 * Returns the keys in a secret certificate, and the daemon's public key, or the path of its certificate. The latter may be
 * left out if the secret certificate names it.
 * @param {string | undefined} file  The path of NAME.key_secret (default: IBBRIDGE_KEY of the environment).
 * @param {string | undefined} server
 * @returns {Keys | undefined} undefined if there is no key
 * @throws {AuthError}
 */
export function loadKeys(file = process.env.IBBRIDGE_KEY, server = process.env.IBBRIDGE_SERVER_KEY) {
  if (!file) return undefined;
  const own = read(file);
  const given = server || own['server-key'] || '';
  const serverKey = !given || /^\S{40}$/.test(given) ? given : read(given)['public-key'];
  if (!own['secret-key']) throw new AuthError(`${file}: has no secret key; give the file NAME.key_secret`);
  if (!serverKey) throw new AuthError(`${file}: the daemon's public key is unknown; set IBBRIDGE_SERVER_KEY`);
  return { publicKey: own['public-key'], secretKey: own['secret-key'], serverKey };
}

/**
 * @param {string} file
 * @returns {Record<string, string>}
 */
function read(file) {
  let text;
  try {
    const { mode } = statSync(file);
    text = readFileSync(file, 'utf8');
    if (/^\s*secret-key/m.test(text) && mode & 0o077) {
      throw new AuthError(`${file}: has a secret key, and others can read or change it: chmod 600 ${file}`);
    }
  } catch (error) {
    if (error instanceof AuthError) throw error;
    throw new AuthError(`${file}: cannot be read: ${/** @type {Error} */ (error).message}`);
  }
  const lines = [...text.matchAll(/^\s*([\w-]+)\s*=\s*["']?(.*?)["']?\s*$/gm)];
  return Object.fromEntries(lines.map(([, name, value]) => [name, value]));
}

/**
 * Returns the endpoint of the environment (IBBRIDGE_PUB, IBBRIDGE_REP), or the daemon's ipc endpoint if it is there, or else
 * that of loopback tcp. With keys it is the latter: over ipc the daemon knows the user, and no keys.
 * @param {'pub' | 'rep'} name
 * @param {Keys | undefined} keys
 */
export function nearest(name, keys = undefined) {
  const { RUNTIME_DIRECTORY, XDG_RUNTIME_DIR } = process.env;
  const own = RUNTIME_DIRECTORY?.split(':')[0]
    ?? (XDG_RUNTIME_DIR ? join(XDG_RUNTIME_DIR, 'ibbridge') : join(homedir(), '.local/state/ibbridge/run'));
  const there = keys ? undefined : [own, '/run/ibbridge'].map((place) => join(place, name)).find(isSocket);
  return process.env[`IBBRIDGE_${name.toUpperCase()}`] || (there ? `ipc://${there}` : TCP[name]);
}

/** @param {string} path */
function isSocket(path) {
  try {
    return statSync(path).isSocket();
  } catch {
    return false;
  }
}
