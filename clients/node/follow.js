/**
 * Stream follower: the recipe of docs/protocol.md for following streams without a hole or a duplicate, as a state machine.
 *
 * This module knows the protocol. It must not know sockets or clocks. Its caller reports what happens (`received`,
 * `answered`, `silent`), sends the command that the follower wants (`request`), and takes the events for the application
 * (`take`). So tests can drive the follower with tables, and with sequences that no network would ever produce.
 */

import { decode } from '@msgpack/msgpack';

/** Number of epochs remembered, so that a late message of an ended epoch does not begin that epoch again. */
const EPOCHS = 1000;
const DURABLE = new Set(['ord', 'exec', 'acct', 'sys']);
const HEARTBEAT = 'sys.bridge.heartbeat.';

/**
 * @typedef {{type: string, epoch: number, seq?: number, offset?: number, gen?: number, ts?: number, flags?: string[],
 *   ref?: Record<string, any>, data?: any, beat?: number, heartbeat?: number, store?: string,
 *   proto?: number}} Body
 * @typedef {{topic: string, body: Body}} Message
 *
 * @typedef {{event: 'message', topic: string, body: Body}
 *   | {event: 'lost', stream: string, from: number, to: number, why: string}
 *   | {event: 'ready', prefix: string}
 *   | {event: 'epoch', epoch: number}
 *   | {event: 'store', store: string}
 *   | {event: 'renewed', stream: string}
 *   | {event: 'down'} | {event: 'up'}} Event
 * Event for the application. `lost`: the messages with these sequence numbers will never come; `why` is the daemon's error
 * code, or `epoch`, `store` or `renewed` if the stream ended before their replay, or `missing` if the daemon does not have
 * them. `ready`: the state of this prefix is complete, later messages are new. `epoch`: the daemon was restarted; forget
 * the state of streams that are not durable, their state comes again. `store`: the daemon has another store; forget the
 * state of durable streams, too. `renewed`: this durable stream was set back and begins again; forget its state. `down`
 * and `up`: the daemon has fallen silent, and is heard again.
 *
 * @typedef {{code: string, message: string, outcome: string, faults?: string[], first?: number, retry_after?: number,
 *   state?: string, rev?: number}} Fault
 * @typedef {{id: any, ok: boolean, epoch: number, gen: number, dup?: boolean, result?: any, error?: Fault}} Reply
 * @typedef {{cmd: 'snapshot' | 'replay', args: Record<string, any>, answered: (reply: Reply) => void}} Request
 * @typedef {{stream: string, seq: number, messages: [string | Uint8Array, Uint8Array][], offset?: number}} State
 * @typedef {{streams: State[], next: string | null, offset?: number}} Page
 */

/** Reader of a snapshot, which joins its pages. */
class Pages {
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

/** Progress of one followed stream. */
class Stream {
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

  /**
   * @param {string} name
   * @param {boolean} durable
   */
  constructor(name, durable) {
    this.name = name;
    this.durable = durable;
  }

  /** Last sequence number of the gap before the kept messages. */
  get gapEnd() {
    return this.kept.length ? seq(this.kept[0]) - 1 : this.heard;
  }
}

/** Subscription to one prefix. */
class Prefix {
  welcomed = false;
  /** True once every stream under the prefix has been placed in this epoch. */
  synced = false;
  /** True if the prefix was synced with this store: a durable stream that is unknown since then had no messages. */
  complete = false;
  /** @type {Pages | null} the snapshot that is wanted */
  pages = null;
  /** Heartbeats since the subscription, while no welcome has come. */
  waits = 0;
  /** True once `ready` was delivered in this epoch. */
  announced = false;
  /** @type {Set<Stream>} streams that wait until all messages that the snapshot may have overtaken have arrived */
  waiting = new Set();
  /** @type {Map<string, Stream>} */
  streams = new Map();

  /**
   * @param {string} text
   * @param {boolean} whole  True if the prefix covers whole streams, so that gaps can be noticed.
   */
  constructor(text, whole) {
    this.text = text;
    this.whole = whole;
  }
}

/** State machine that follows the streams under some prefixes. */
export class Follow {
  epoch = 0;
  /** Highest offset that has arrived in this epoch. */
  #offset = 0;
  /** Offset of the first welcome in this epoch. */
  #since = 0;
  /** Seconds between heartbeats, from the welcome. */
  heartbeat = 1;
  /** Heartbeats heard so far. */
  beats = 0;
  /** Epoch of a reply from a restarted daemon that has not published anything yet; 0 if there is none. */
  #awaited = 0;
  /** @type {number[]} the last epochs, including this one, oldest first */
  #epochs = [];
  /** Name of the store, and the last epoch known to use it. */
  #store = { name: '', epoch: 0 };
  #down = false;
  /** @type {number | null} the `beat` of the last heartbeat of this epoch */
  #beat = null;
  /** @type {Prefix[]} */
  #prefixes;
  /** @type {string} */
  #root;
  /** @type {Event[]} */
  #events = [];
  /** @type {Request | null} */
  #request = null;
  /** @type {Set<Stream>} streams with a gap */
  #gaps = new Set();
  /** @type {Set<string>} */
  #unwelcomed = new Set();

  /**
   * @param {string[]} prefixes  The topic prefixes to follow; none may contain another.
   * @param {string} root  The daemon's configured topic prefix with its dot.
   */
  constructor(prefixes, root = '') {
    for (const text of prefixes) {
      const other = prefixes.find((each) => each !== text && text.startsWith(each));
      if (other !== undefined) throw new Error(`'${other}' contains '${text}': follow one of them`);
      if (!text.startsWith(root)) throw new Error(`'${text}' does not begin with '${root}'`);
    }
    this.#root = root;
    this.#prefixes = [...new Set(prefixes)].map((text) => this.#made(text));
  }

  /** @param {string} text */
  #made(text) {
    const parts = text.slice(this.#root.length).split('.');
    return new Prefix(text, parts.length < 3 || (parts.length === 3 && parts[2] === ''));
  }

  /**
   * Follows more prefixes.
   *
   * @param {string[]} prefixes  Prefixes that are covered already change nothing.
   * @returns {string[]} the prefixes to subscribe to
   * @throws {Error} if one contains a prefix that is followed already
   */
  follow(prefixes) {
    const added = [...new Set(prefixes)].filter((text) => !this.#prefixes.some((each) => text.startsWith(each.text)));
    for (const text of added) {
      const inner = [...this.#prefixes.map((each) => each.text), ...added].find((each) => each !== text && each.startsWith(text));
      if (inner !== undefined) throw new Error(`'${text}' contains '${inner}': follow one of them`);
      if (!text.startsWith(this.#root)) throw new Error(`'${text}' does not begin with '${this.#root}'`);
    }
    this.#prefixes.push(...added.map((text) => this.#made(text)));
    return added;
  }

  /** Prefixes to subscribe to. */
  get subscriptions() {
    return [...this.#prefixes.map((prefix) => prefix.text), this.#root + HEARTBEAT];
  }

  /** @returns {Event[]} the events that the application has not taken yet */
  take() {
    const events = this.#events;
    this.#events = [];
    return events;
  }

  /**
   * @returns {string[]} prefixes to subscribe to again for another welcome, because their welcome was lost, or because a
   *   welcome is wanted that shows which messages have arrived
   */
  unwelcomed() {
    const prefixes = [...this.#unwelcomed];
    this.#unwelcomed.clear();
    return prefixes;
  }

  /** @returns {Request | null} the one command to send now; the same one until it is answered or no longer wanted */
  request() {
    if (this.#awaited) return null;
    this.#request ??= this.#wanted();
    return this.#request;
  }

  /**
   * @param {string} topic
   * @param {Body} body
   */
  received(topic, body) {
    if (body.epoch !== this.epoch) {
      if (this.#epochs.includes(body.epoch)) return; // a late message of an ended epoch
      this.#newEpoch(body.epoch);
    }
    if (body.type === 'welcome') {
      this.#welcomed(topic, body);
      this.#since ||= body.offset ?? 0;
      return this.#arrived(body.offset ?? 0);
    }
    if (topic === this.#root + HEARTBEAT) {
      this.#heartbeatCame(body);
      this.#arrived(body.data.offset ?? 0);
    }
    const prefix = this.#under(topic);
    if (!prefix) return;
    if (body.seq === undefined) return this.#tell({ event: 'message', topic, body });
    const stream = this.#stream(prefix, this.#streamOf(topic));
    if (stream.open && !stream.resuming && !stream.kept.length && body.seq === stream.last + 1 && stream.heard <= stream.last) {
      return this.#apply(stream, { topic, body });
    }
    stream.kept.push({ topic, body });
    if (stream.found) this.#place(prefix, stream, stream.found);
    this.#advance(prefix, stream);
    this.#arrived(body.offset ?? 0);
  }

  /**
   * Notes that all messages up to this offset have arrived, or are lost.
   * @param {number} offset
   */
  #arrived(offset) {
    if (offset <= this.#offset) return;
    this.#offset = offset;
    for (const prefix of this.#prefixes) {
      for (const stream of prefix.waiting) {
        if (stream.found && (stream.found.offset ?? 0) <= offset) this.#place(prefix, stream, stream.found);
      }
      this.#readyIf(prefix);
    }
  }

  /**
   * @param {Request} request  The command that `request` returned.
   * @param {Reply} reply
   */
  answered(request, reply) {
    if (request !== this.#request) return;
    this.#request = null;
    // A reply may show a restart first, while messages of the old epoch still wait in the other socket.
    if (reply.epoch === this.epoch) request.answered(reply);
    else if (!this.#epochs.includes(reply.epoch)) this.#awaited = reply.epoch;
  }

  /** Notes that no heartbeat has come for three times its interval. */
  silent() {
    if (!this.#down) this.#tell({ event: 'down' });
    this.#down = true;
  }

  // --- welcomes, heartbeats, epochs ---------------------------------------------------------------------------------

  /** @param {number} epoch */
  #newEpoch(epoch) {
    const first = this.epoch === 0;
    for (const prefix of this.#prefixes.filter(({ whole }) => whole)) {
      for (const stream of prefix.waiting) {
        // No more messages of that epoch will come. Messages under way can be replayed: at most this many there were.
        if (stream.durable && stream.found) this.#place(prefix, stream, stream.found, (stream.found.offset ?? 0) - this.#since);
      }
    }
    const seen = this.epoch;
    this.epoch = epoch;
    this.#epochs = [...this.#epochs.slice(1 - EPOCHS), epoch];
    if (this.#awaited === epoch || !first) this.#awaited = 0;
    this.#offset = this.#since = 0;
    this.#beat = null;
    this.#request = null;
    this.#gaps.clear();
    for (const prefix of this.#prefixes) {
      for (const stream of prefix.streams.values()) this.#suspend(prefix, stream, seen);
      prefix.welcomed = prefix.synced = false;
      prefix.announced = false;
      prefix.pages = null;
      prefix.waits = 0;
    }
    if (!first) this.#tell({ event: 'epoch', epoch });
  }

  /**
   * @param {Prefix} prefix
   * @param {Stream} stream
   * @param {number} seen  The epoch that has ended.
   */
  #suspend(prefix, stream, seen) {
    stream.before = Math.max(stream.before, stream.last, stream.heard);
    stream.heard = 0;
    if (stream.durable && prefix.whole && stream.placed) {
      stream.seen ||= seen;
      stream.open = stream.resuming = false;
      stream.gone = stream.rows = null;
      this.#forgetFound(prefix, stream);
    } else {
      this.#abandon(prefix, stream, 'epoch');
    }
  }

  /** @param {string | undefined} name */
  #storeIs(name) {
    if (name === undefined) return;
    const { name: before, epoch } = this.#store;
    this.#store = { name, epoch: this.epoch };
    if (before === '' || name === before) return;
    const between = this.#epochs.slice(this.#epochs.indexOf(epoch) + 1);
    for (const prefix of this.#prefixes) {
      for (const stream of prefix.streams.values()) {
        if (!stream.durable) continue;
        // The store of an epoch in between is unknown, and so is the meaning of its sequence numbers.
        stream.kept = stream.kept.filter(({ body }) => body.epoch === this.epoch || !between.includes(body.epoch));
        this.#abandon(prefix, stream, 'store');
      }
      prefix.complete = false;
    }
    this.#tell({ event: 'store', store: name });
  }

  /**
   * @param {string} topic
   * @param {Body} body
   */
  #welcomed(topic, body) {
    if (body.heartbeat) this.heartbeat = body.heartbeat;
    this.#beat ??= body.beat ?? null;
    this.#storeIs(body.store);
    const prefix = this.#prefixes.find(({ text }) => text === topic);
    if (!prefix || prefix.welcomed) return;
    prefix.welcomed = true;
    prefix.pages = new Pages();
  }

  /** @param {Body} body */
  #heartbeatCame({ data }) {
    this.beats += 1;
    this.#storeIs(data.store?.name);
    // Only three heartbeats name a changed stream that is not durable. After more missed heartbeats, a snapshot of all
    // prefixes is requested.
    const missed = this.#beat !== null && data.beat > this.#beat + 3;
    this.#beat = data.beat;
    if (this.#down || missed) this.#askAgain();
    if (this.#down) this.#tell({ event: 'up' });
    this.#down = false;
    for (const prefix of this.#prefixes) {
      if (!prefix.welcomed && ++prefix.waits % 2 === 0) this.#unwelcomed.add(prefix.text);
    }
    for (const [name, last] of Object.entries(data.seqs ?? {})) {
      const prefix = this.#under(name);
      // A snapshot may take longer than a heartbeat interval, so its pages may be older than this heartbeat.
      if (prefix?.whole && prefix.welcomed) this.#hear(prefix, this.#stream(prefix, name), last);
    }
  }

  /** Requests a snapshot from its first page, which shows how far the streams are. The epoch, and so `last`, stay valid. */
  #askAgain() {
    this.#request = null;
    for (const prefix of this.#prefixes) {
      if (!prefix.welcomed) continue;
      prefix.pages = new Pages();
      if (prefix.whole) continue;
      prefix.synced = prefix.announced = false;
      prefix.streams.clear();
      prefix.waiting.clear();
    }
  }

  // --- commands -----------------------------------------------------------------------------------------------------

  /** @returns {Request | null} */
  #wanted() {
    const prefix = this.#prefixes.find(({ welcomed, pages }) => welcomed && pages);
    if (prefix) return snapshot(prefix.text, /** @type {Pages} */ (prefix.pages), (page) => this.#page(prefix, page));
    const [stream] = this.#gaps;
    if (!stream) return null;
    const { gone, name, gapEnd: to } = stream;
    if (gone) return snapshot(name, gone.pages, (page) => this.#remains(stream, page));
    if (stream.resuming) {
      const args = { stream: name, from: stream.last, to: Math.max(stream.last, to) };
      return { cmd: 'replay', args, answered: (reply) => this.#resumed(stream, args.to, reply) };
    }
    const from = stream.last + 1;
    return { cmd: 'replay', args: { stream: name, from, to }, answered: (reply) => this.#replayed(stream, to, reply) };
  }

  /**
   * @param {Prefix} prefix
   * @param {Page} page
   */
  #page(prefix, page) {
    const pages = /** @type {Pages} */ (prefix.pages);
    for (const state of pages.add(page)) this.#find(prefix, this.#stream(prefix, state.stream), state);
    if (prefix.waiting.size) this.#unwelcomed.add(prefix.text);
    if (pages.after !== null) return;
    prefix.pages = null;
    if (prefix.synced) return;
    for (const stream of prefix.streams.values()) {
      if (!stream.open && !stream.found) this.#place(prefix, stream, { stream: stream.name, seq: 0, messages: [] });
    }
    prefix.synced = true;
    this.#readyIf(prefix);
  }

  /**
   * @param {Prefix} prefix
   * @param {Stream} stream
   */
  #forgetFound(prefix, stream) {
    stream.found = null;
    prefix.waiting.delete(stream);
  }

  /** @param {Prefix} prefix */
  #readyIf(prefix) {
    if (!prefix.synced || prefix.announced || prefix.waiting.size) return;
    prefix.announced = true;
    prefix.complete = prefix.whole;
    this.#tell({ event: 'ready', prefix: prefix.text });
  }

  /**
   * Places a stream with its state from a snapshot, at once, or after the messages that the snapshot may have overtaken.
   * @param {Prefix} prefix
   * @param {Stream} stream
   * @param {State} state
   */
  #find(prefix, stream, state) {
    const waits = !stream.placed && !stream.kept.length && state.seq && (state.offset ?? 0) > this.#offset;
    if (!waits) return this.#place(prefix, stream, state);
    stream.found = state;
    prefix.waiting.add(stream);
  }

  /**
   * @param {Prefix} prefix
   * @param {Stream} stream
   * @param {State} state
   * @param {number} lost  Number of messages up to the state that may not arrive by themselves.
   */
  #place(prefix, stream, state, lost = 0) {
    const kept = stream.kept.findLast(({ body }) => body.epoch !== this.epoch);
    if (!stream.open && stream.placed && state.seq < Math.max(stream.before, kept ? seq(kept) : 0)) {
      this.#renew(prefix, stream);
    } else if (!stream.open && stream.placed && stream.last > 0 && stream.seen) {
      stream.resuming = true;
      stream.kept = stream.kept.filter(({ body }) => body.epoch === this.epoch); // the others are replayed
    }
    if (!stream.placed) this.#begin(stream, state, stream.skip ? state.offset ?? 0 : lost);
    this.#forgetFound(prefix, stream);
    stream.seen = stream.resuming ? stream.seen : 0;
    stream.placed = stream.open = true;
    this.#hear(prefix, stream, state.seq);
  }

  /**
   * Begins a stream again, because the daemon lost its last messages in a crash and reused their sequence numbers.
   * @param {Prefix} prefix
   * @param {Stream} stream
   */
  #renew(prefix, stream) {
    const { seen } = stream;
    this.#abandon(prefix, stream, 'renewed');
    this.#tell({ event: 'renewed', stream: stream.name });
    prefix.streams.set(stream.name, stream);
    stream.skip = seen;
  }

  /**
   * Processes the replay of the last applied message and of those after it, from a daemon that was restarted.
   * @param {Stream} stream
   * @param {number} to
   * @param {Reply} reply
   */
  #resumed(stream, to, reply) {
    const { last, seen } = stream;
    const prefix = this.#under(stream.name);
    stream.resuming = false;
    /** @type {Message[]} */
    const messages = reply.ok ? reply.result.messages.map(opened) : [];
    if (prefix && messages.some((each) => seq(each) === last && each.body.epoch > seen)) {
      this.#renew(prefix, stream);
      prefix.pages = new Pages(); // request the state to begin with
      prefix.synced = false;
      return;
    }
    stream.seen = 0;
    // The daemon no longer keeps the message applied before the restart, but keeps all later ones.
    if (reply.error?.code === 'E_GAP_TOO_OLD' && (reply.error.first ?? 0) <= last + 1) return this.#settle(stream);
    this.#replayed(stream, to, reply);
  }

  /**
   * Begins a stream with the state before the first message that has arrived. That message may be in no snapshot, so it
   * must follow.
   * @param {Stream} stream
   * @param {State} state
   * @param {number} lost
   */
  #begin(stream, state, lost) {
    const first = stream.kept.find(({ body }) => body.epoch === this.epoch);
    const last = first ? Math.min(state.seq, seq(first) - 1) : state.seq;
    stream.last = Math.max(0, first && !stream.skip ? last : last - lost);
    const messages = inOrder(state);
    const rows = messages.filter(isSynthetic);
    for (const message of messages) {
      if (!isSynthetic(message) && seq(message) <= stream.last) this.#tell({ event: 'message', ...replayed(message) });
    }
    if (rows.length) stream.rows = { seq: state.seq, messages: rows };
    this.#tellRows(stream);
  }

  /**
   * @param {Stream} stream
   * @param {number} to
   * @param {Reply} reply
   */
  #replayed(stream, to, { ok, result, error }) {
    if (!ok && error?.code === 'E_GAP_TOO_OLD' && error.first !== undefined && error.first > stream.last + 1) {
      stream.gone = { first: error.first, pages: new Pages(), state: null };
      return;
    }
    if (!ok) {
      this.#lose(stream, to, error?.code ?? 'E_PROTO');
    } else {
      for (const message of result.messages.map(opened)) {
        if (seq(message) <= stream.last) continue; // the message has arrived by itself meanwhile
        this.#lose(stream, seq(message) - 1, 'missing');
        this.#apply(stream, replayed(message));
      }
      const more = (result.next ?? null) !== null && result.messages.length > 0;
      if (!more) this.#lose(stream, to, 'missing');
    }
    this.#settle(stream);
  }

  /**
   * Processes a page of the state that replaces messages which the daemon no longer keeps.
   * @param {Stream} stream
   * @param {Page} page
   */
  #remains(stream, page) {
    const gone = /** @type {NonNullable<Stream['gone']>} */ (stream.gone);
    gone.state = gone.pages.add(page).find(({ stream: name }) => name === stream.name) ?? gone.state;
    if (gone.pages.after !== null) return;
    stream.gone = null;
    const last = stream.last;
    // Messages kept here are not lost, even if the daemon no longer has them.
    const end = Math.min(gone.first - 1, stream.gapEnd);
    const state = gone.state ? inOrder(gone.state) : [];
    const synthetic = state.filter(isSynthetic);
    if (gone.state && synthetic.length) {
      stream.rows = { seq: gone.state.seq, messages: synthetic };
      stream.heard = Math.max(stream.heard, gone.state.seq);
    }
    this.#lose(stream, end, 'E_GAP_TOO_OLD', state.filter((message) =>
      !synthetic.includes(message) && seq(message) > last && seq(message) <= end));
    this.#settle(stream);
  }

  // --- streams ------------------------------------------------------------------------------------------------------

  /** @param {Event} event */
  #tell(event) {
    this.#events.push(event);
  }

  /**
   * @param {string} topic
   * @returns {Prefix | undefined}
   */
  #under(topic) {
    return this.#prefixes.find(({ text }) => topic.startsWith(text));
  }

  /** @param {string} topic */
  #streamOf(topic) {
    const second = topic.indexOf('.', this.#root.length) + 1;
    return topic.slice(0, topic.indexOf('.', second) + 1);
  }

  /**
   * @param {Prefix} prefix
   * @param {string} name
   */
  #stream(prefix, name) {
    let stream = prefix.streams.get(name);
    if (!stream) {
      stream = new Stream(name, DURABLE.has(name.slice(this.#root.length).split('.', 1)[0]));
      stream.open = prefix.synced;
      stream.placed = prefix.synced || (stream.durable && prefix.complete);
      prefix.streams.set(name, stream);
    }
    return stream;
  }

  /**
   * @param {Prefix} prefix
   * @param {Stream} stream
   * @param {number} last
   */
  #hear(prefix, stream, last) {
    stream.heard = Math.max(stream.heard, last);
    this.#advance(prefix, stream);
  }

  /**
   * Applies the messages that can be applied.
   * @param {Prefix} prefix
   * @param {Stream} stream
   */
  #advance(prefix, stream) {
    if (!stream.open) return;
    if (prefix.whole) return this.#settle(stream);
    for (const message of stream.kept.splice(0)) {
      if (seq(message) > stream.last) this.#apply(stream, message);
    }
    // Not all messages up to the rows are under this prefix.
    if (stream.rows) stream.last = Math.max(stream.last, stream.rows.seq);
    this.#tellRows(stream);
  }

  /** @param {Stream} stream */
  #settle(stream) {
    if (stream.resuming) {
      this.#gaps.add(stream);
      return;
    }
    let done = 0;
    for (const message of stream.kept) {
      const next = stream.last + 1;
      if (seq(message) > next) break;
      if (seq(message) === next) this.#apply(stream, message);
      done += 1;
    }
    if (done) stream.kept.splice(0, done);
    if (stream.kept.length || stream.heard > stream.last) this.#gaps.add(stream);
    else this.#gaps.delete(stream);
  }

  /**
   * @param {Stream} stream
   * @param {Message} message
   */
  #apply(stream, message) {
    stream.last = seq(message);
    if (message.body.epoch > stream.skip) this.#tell({ event: 'message', ...message });
    this.#tellRows(stream);
  }

  /**
   * @param {Stream} stream
   * @param {number} to
   * @param {string} why
   * @param {Message[]} instead  State that replaces the lost messages.
   */
  #lose(stream, to, why, instead = []) {
    const from = stream.last + 1;
    if (to < from) return;
    this.#tell({ event: 'lost', stream: stream.name, from, to, why });
    for (const message of instead) this.#tell({ event: 'message', ...replayed(message) });
    stream.last = to;
    this.#tellRows(stream);
  }

  /** @param {Stream} stream */
  #tellRows(stream) {
    if (!stream.rows || stream.last < stream.rows.seq) return;
    for (const message of stream.rows.messages) this.#tell({ event: 'message', ...replayed(message) });
    stream.rows = null;
  }

  /**
   * Ends a stream: delivers its kept messages, reports the missing ones as lost, and forgets the stream.
   * @param {Prefix} prefix
   * @param {Stream} stream
   * @param {string} why
   */
  #abandon(prefix, stream, why) {
    const kept = stream.kept;
    stream.kept = kept.filter(({ body }) => body.epoch === this.epoch);
    if (stream.placed) {
      for (const message of kept.slice(0, kept.length - stream.kept.length)) {
        if (seq(message) <= stream.last) continue;
        if (prefix.whole) this.#lose(stream, seq(message) - 1, why);
        this.#apply(stream, message);
      }
      if (prefix.whole) this.#lose(stream, stream.before, why);
    }
    this.#gaps.delete(stream);
    stream.placed = stream.open = false;
    stream.last = stream.before = stream.seen = stream.skip = 0;
    stream.resuming = false;
    stream.gone = stream.rows = null;
    this.#forgetFound(prefix, stream);
    if (!stream.kept.length) prefix.streams.delete(stream.name);
  }
}

/**
 * @param {string} prefix
 * @param {Pages} pages
 * @param {(page: Page) => void} add
 * @returns {Request}
 */
function snapshot(prefix, pages, add) {
  return {
    cmd: 'snapshot',
    args: pages.after === null ? { prefix } : { prefix, after: pages.after },
    answered({ ok, result, error }) {
      if (!ok) throw new Error(`snapshot of '${prefix}' was refused: ${error?.code}: ${error?.message}`);
      add(result);
    },
  };
}

/** @param {Message} message */
function isSynthetic({ body }) {
  return Boolean(body.flags?.includes('synthetic'));
}

/** @param {Message} message */
function seq({ body }) {
  return /** @type {number} */ (body.seq);
}

/**
 * @param {[string | Uint8Array, Uint8Array]} frames
 * @returns {Message}
 */
function opened([topic, body]) {
  return {
    topic: typeof topic === 'string' ? topic : new TextDecoder().decode(topic),
    body: /** @type {Body} */ (decode(body)),
  };
}

/**
 * @param {Message} message
 * @returns {Message}
 */
function replayed({ topic, body }) {
  return { topic, body: { ...body, flags: [...(body.flags ?? []), 'replayed'] } };
}

/**
 * Returns the messages of a state in the order of their sequence numbers. Rows with the same number keep their order.
 * @param {State} state
 */
function inOrder({ messages }) {
  return messages.map(opened).sort((one, other) => seq(one) - seq(other));
}
