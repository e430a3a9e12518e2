/**
 * Admission of a socket: libzmq reports a refused handshake to a monitor alone, so a wrong key would look like a daemon that
 * is away.
 */

import { AuthError } from './errors.js';

/** @typedef {import('./keys.js').Keys} Keys */

/** Handshakes in a row that end without a word, after which the daemon is taken to refuse. One alone may be chance. */
const BROKEN_OFF = 3;

/**
 * Returns the socket options for these keys. An ipc endpoint takes none.
 * @param {string} endpoint
 * @param {Keys | undefined} keys
 */
export function curve(endpoint, keys) {
  if (!keys || endpoint.startsWith('ipc://')) return {};
  return { curvePublicKey: keys.publicKey, curveSecretKey: keys.secretKey, curveServerKey: keys.serverKey };
}

/**
 * Calls `refused` with an error whenever the daemon refuses the socket. Call this before the socket connects.
 * @param {import('zeromq').Socket} socket
 * @param {string} endpoint
 * @param {Keys | undefined} keys
 * @param {(error: AuthError) => void} refused
 */
export function watch(socket, endpoint, keys, refused) {
  const withKey = keys !== undefined && !endpoint.startsWith('ipc://');
  let broken = 0;
  socket.events.on('handshake', () => { broken = 0; });
  socket.events.on('handshake:error:auth', () => refused(new AuthError(withKey
    ? `the daemon at ${endpoint} does not admit the key ${keys?.publicKey}: no client in its security.clients has it`
    : `the daemon at ${endpoint} does not admit this user, or a program without a key`)));
  const ended = () => {
    broken += 1;
    if (broken < BROKEN_OFF) return;
    refused(new AuthError(withKey
      ? `the daemon at ${endpoint} has ended ${broken} connections in a row before they were made. Is the server key its `
        + 'public key? Does it take keys there? Or it has too many connections'
      : `the daemon at ${endpoint} has ended ${broken} connections in a row before they were made. It may demand a key `
        + '(keys: loadKeys(...)), or have too many connections, or be no ibbridge'));
  };
  socket.events.on('handshake:error:other', ended);
  socket.events.on('handshake:error:protocol', () => refused(new AuthError(withKey
    ? `the daemon at ${endpoint} takes no keys there: leave keys out, or connect to another endpoint of its`
    : `the daemon at ${endpoint} demands a key: keys: loadKeys(...), or set IBBRIDGE_KEY and IBBRIDGE_SERVER_KEY`)));
}
