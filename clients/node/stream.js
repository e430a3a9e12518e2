/** Progress of one followed stream: what was applied, what waits, and what a restart of the daemon does to it. */

import { inOrder, isSynthetic, replayed, seq } from './messages.js';

/**
 * @typedef {import('./delivery.js').Delivery} Delivery
 * @typedef {import('./messages.js').Message} Message
 * @typedef {import('./messages.js').State} State
 * @typedef {import('./pages.js').Pages} Pages
 * @typedef {import('./prefix.js').Prefix} Prefix
 */

/** Progress of one followed stream. */
export class Stream {
  /** True once `last` is valid, which is from the first snapshot on. */
  placed = false;
  /** Sequence number of the last message applied. */
  last = 0;
  /** Highest sequence number that the daemon has named in this epoch. */
  heard = 0;
  /** Highest sequence number that the daemon has named in earlier epochs. */
  before = 0;
  /** True once a snapshot of this epoch has named the stream's sequence number; no message is applied before that. */
  open = false;
  /** @type {Message[]} messages that cannot be applied yet, by sequence number */
  kept = [];
  /** @type {{first: number, pages: Pages, state: State | null} | null} a gap that the daemon cannot fill */
  gone = null;
  /** @type {{seq: number, messages: Message[]} | null} synthetic state that is valid at this sequence number */
  rows = null;
  /** @type {State | null} the state to begin with once all messages that the reply may have overtaken have arrived */
  found = null;
  /** Epoch in which the stream was followed last, if it continues in a later epoch. */
  seen = 0;
  /** A replay from the last applied message is wanted, because a store that lost its end may have reused its number. */
  resuming = false;
  /** Messages of epochs up to this one were delivered before, under sequence numbers that were reused since. */
  skip = 0;
  #delivery;

  /**
   * @param {string} name
   * @param {boolean} durable
   * @param {Prefix} prefix
   * @param {Delivery} delivery
   */
  constructor(name, durable, prefix, delivery) {
    this.name = name;
    this.durable = durable;
    this.prefix = prefix;
    this.#delivery = delivery;
  }

  /** Last sequence number of the gap before the kept messages. */
  get gapEnd() {
    return this.kept.length ? seq(this.kept[0]) - 1 : this.heard;
  }

  /**
   * Returns true if a message with this sequence number can be applied at once.
   * @param {number} number
   */
  isNext(number) {
    return this.open && !this.resuming && !this.kept.length && number === this.last + 1 && this.heard <= this.last;
  }

  // --- life -------------------------------------------------------------------------------------------------------------

  /**
   * Places the stream with its state from a snapshot of this epoch.
   * @param {State} state
   * @param {number} lost  Number of messages up to the state that may not arrive by themselves.
   */
  place(state, lost = 0) {
    const kept = this.kept.findLast(({ body }) => body.epoch !== this.#delivery.epoch);
    if (!this.open && this.placed && state.seq < Math.max(this.before, kept ? seq(kept) : 0)) {
      this.renew();
    } else if (!this.open && this.placed && this.last > 0 && this.seen) {
      this.resuming = true;
      this.kept = this.kept.filter(({ body }) => body.epoch === this.#delivery.epoch); // the others are replayed
    }
    if (!this.placed) this.#begin(state, this.skip ? state.offset ?? 0 : lost);
    this.#forgetFound();
    this.seen = this.resuming ? this.seen : 0;
    this.placed = this.open = true;
    this.hear(state.seq);
  }

  /**
   * Begins the stream with the state before the first message that has arrived. That message may be in no snapshot, so it
   * must follow.
   * @param {State} state
   * @param {number} lost
   */
  #begin(state, lost) {
    const first = this.kept.find(({ body }) => body.epoch === this.#delivery.epoch);
    const last = first ? Math.min(state.seq, seq(first) - 1) : state.seq;
    this.last = Math.max(0, first && !this.skip ? last : last - lost);
    const messages = inOrder(state);
    const rows = messages.filter(isSynthetic);
    for (const message of messages) {
      if (!isSynthetic(message) && seq(message) <= this.last) this.#delivery.tell({ event: 'message', ...replayed(message) });
    }
    if (rows.length) this.rows = { seq: state.seq, messages: rows };
    this.#tellRows();
  }

  /** Begins the stream again, because the daemon lost its last messages in a crash and reused their sequence numbers. */
  renew() {
    const { seen } = this;
    this.abandon('renewed');
    this.#delivery.tell({ event: 'renewed', stream: this.name });
    this.prefix.streams.set(this.name, this);
    this.skip = seen;
  }

  /**
   * Keeps a durable stream for the next epoch, and ends any other.
   * @param {number} seen  The epoch that has ended.
   */
  suspend(seen) {
    this.before = Math.max(this.before, this.last, this.heard);
    this.heard = 0;
    if (this.durable && this.prefix.whole && this.placed) {
      this.seen ||= seen;
      this.open = this.resuming = false;
      this.gone = this.rows = null;
      this.#forgetFound();
    } else {
      this.abandon('epoch');
    }
  }

  /**
   * Ends the stream: delivers its kept messages, reports the missing ones as lost, and forgets the stream.
   * @param {string} why
   */
  abandon(why) {
    const kept = this.kept;
    this.kept = kept.filter(({ body }) => body.epoch === this.#delivery.epoch);
    if (this.placed) {
      for (const message of kept.slice(0, kept.length - this.kept.length)) {
        if (seq(message) <= this.last) continue;
        if (this.prefix.whole) this.lose(seq(message) - 1, why);
        this.apply(message);
      }
      if (this.prefix.whole) this.lose(this.before, why);
    }
    this.#delivery.gaps.delete(this);
    this.placed = this.open = false;
    this.last = this.before = this.seen = this.skip = 0;
    this.resuming = false;
    this.gone = this.rows = null;
    this.#forgetFound();
    if (!this.kept.length) this.prefix.streams.delete(this.name);
  }

  #forgetFound() {
    this.found = null;
    this.prefix.waiting.delete(this);
  }

  // --- delivery ---------------------------------------------------------------------------------------------------------

  /**
   * Notes a sequence number that the daemon has named.
   * @param {number} last
   */
  hear(last) {
    this.heard = Math.max(this.heard, last);
    this.advance();
  }

  /** Applies the messages that can be applied. */
  advance() {
    if (!this.open) return;
    if (this.prefix.whole) return this.settle();
    for (const message of this.kept.splice(0)) {
      if (seq(message) > this.last) this.apply(message);
    }
    // Not all messages up to the rows are under this prefix.
    if (this.rows) this.last = Math.max(this.last, this.rows.seq);
    this.#tellRows();
  }

  /** Applies the kept messages that follow, and notes if there is a gap. */
  settle() {
    if (this.resuming) {
      this.#delivery.gaps.add(this);
      return;
    }
    let done = 0;
    for (const message of this.kept) {
      const next = this.last + 1;
      if (seq(message) > next) break;
      if (seq(message) === next) this.apply(message);
      done += 1;
    }
    if (done) this.kept.splice(0, done);
    if (this.kept.length || this.heard > this.last) this.#delivery.gaps.add(this);
    else this.#delivery.gaps.delete(this);
  }

  /** @param {Message} message */
  apply(message) {
    this.last = seq(message);
    if (message.body.epoch > this.skip) this.#delivery.tell({ event: 'message', ...message });
    this.#tellRows();
  }

  /**
   * Reports the messages up to this one as lost.
   * @param {number} to
   * @param {string} why
   * @param {Message[]} instead  State that replaces the lost messages.
   */
  lose(to, why, instead = []) {
    const from = this.last + 1;
    if (to < from) return;
    this.#delivery.tell({ event: 'lost', stream: this.name, from, to, why });
    for (const message of instead) this.#delivery.tell({ event: 'message', ...replayed(message) });
    this.last = to;
    this.#tellRows();
  }

  #tellRows() {
    if (!this.rows || this.last < this.rows.seq) return;
    for (const message of this.rows.messages) this.#delivery.tell({ event: 'message', ...replayed(message) });
    this.rows = null;
  }
}
