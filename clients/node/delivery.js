/** What all followed streams share. */

/** @typedef {import('./messages.js').Event} Event */

/** Events for the application, and how far the messages of this epoch have come. */
export class Delivery {
  epoch = 0;
  /** Highest offset that has arrived in this epoch. */
  offset = 0;
  /** @type {Set<import('./stream.js').Stream>} streams with a gap */
  gaps = new Set();
  /** @type {Event[]} */
  #events = [];

  /** @param {Event} event */
  tell(event) {
    // A replayed message that this client may not see: only its number counts.
    if (event.event === 'message' && event.body.type === 'withheld') return;
    this.#events.push(event);
  }

  /** @returns {Event[]} the events that the application has not taken yet */
  take() {
    const events = this.#events;
    this.#events = [];
    return events;
  }
}
