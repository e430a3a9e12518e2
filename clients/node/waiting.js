/** Waits of promises: each ends by success, failure, time, or a signal, and leaves no timer and no listener behind. */

/** Longest timer of Node.js in milliseconds. A longer one would end at once. */
const LONGEST = 2 ** 31 - 1;

/**
 * Returns a promise that `begin` settles, unless a signal is aborted or the time is over before.
 * @template T
 * @param {(resolve: (value: T) => void, reject: (reason: unknown) => void) => () => void} begin  Returns what ends its
 *   work; it is called once, however the wait ends.
 * @param {{timeout?: number, late?: () => Error, signals?: (AbortSignal | undefined)[]}} limits  `timeout` is in
 *   milliseconds, Infinity for no limit. `late` makes the error after that time.
 * @returns {Promise<T>}
 */
export async function waiting(begin, { timeout = Infinity, late = () => new Error('too late'), signals = [] } = {}) {
  const given = signals.filter((each) => each !== undefined);
  for (const signal of given) signal.throwIfAborted();
  /** @type {(() => void)[]} */
  const ends = [];
  try {
    return await new Promise((resolve, reject) => {
      for (const signal of given) {
        const abort = () => reject(signal.reason);
        signal.addEventListener('abort', abort);
        ends.push(() => signal.removeEventListener('abort', abort));
      }
      if (timeout <= LONGEST) {
        const timer = setTimeout(() => reject(late()), Math.max(0, timeout));
        ends.push(() => clearTimeout(timer));
      }
      ends.push(begin(resolve, reject));
    });
  } finally {
    for (const end of ends) end();
  }
}
