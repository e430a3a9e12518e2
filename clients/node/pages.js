/** Snapshots, which come in pages. */

/**
 * @typedef {import('./messages.js').Page} Page
 * @typedef {import('./messages.js').Request} Request
 * @typedef {import('./messages.js').State} State
 */

/** Reader of a snapshot, which joins its pages. */
export class Pages {
  /** @type {string | null} */
  after = null;
  /** @type {State | null} the last stream so far, which the next page may continue */
  #open = null;

  /**
   * @param {Page} page
   * @returns {State[]} the streams that are complete with this page
   */
  add({ streams, next, offset }) {
    const complete = [];
    for (const part of streams.map((each) => ({ ...each, offset }))) {
      const open = this.#open;
      if (open?.stream === part.stream && open.seq === part.seq) {
        this.#open = { ...open, messages: open.messages.concat(part.messages) };
        continue;
      }
      // A stream with another sequence number than before has changed between the pages, and begins again.
      if (open && open.stream !== part.stream) complete.push(open);
      this.#open = part;
    }
    this.after = next ?? null;
    if (this.after === null && this.#open) complete.push(this.#open);
    return complete;
  }
}

/**
 * @param {string} prefix
 * @param {Pages} pages
 * @param {(page: Page) => void} add
 * @returns {Request}
 */
export function snapshot(prefix, pages, add) {
  return {
    cmd: 'snapshot',
    args: pages.after === null ? { prefix } : { prefix, after: pages.after },
    answered({ ok, result, error }) {
      if (!ok) throw new Error(`snapshot of '${prefix}' was refused: ${error?.code}: ${error?.message}`);
      add(result);
    },
  };
}
