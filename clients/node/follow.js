/**
 * Following streams without a hole or a duplicate: the recipe of docs/protocol.md as a state machine.
 *
 * It knows the protocol. It must not know sockets or clocks: what happens is told to it (`received`, `answered`,
 * `silent`), what it wants to be asked of the daemon it says (`request`), and what the application is to hear it hands
 * out (`take`). So it can be tested with tables, and with worlds that no network would ever produce.
 */

import { decode } from '@msgpack/msgpack';

/** So many epochs are remembered, so that what comes late of one that is over begins none anew. */
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
 * What the application hears. `lost`: these numbers will never come; `why` is the daemon's error code, or `epoch`,
 * `store` or `renewed` if the stream ended before they could be had, or `missing` if the daemon did not know them.
 * `ready`: the state of this prefix has been told, what follows is new. `epoch`: the daemon was restarted, forget the
 * state of all that is not durable; it is told anew. `store`: forget the rest too. `renewed`: this durable stream was
 * set back and begins anew. `down` and `up`: the daemon has fallen silent, and is heard again.
 *
 * @typedef {{code: string, message: string, outcome: string, faults?: string[], first?: number}} Fault
 * @typedef {{id: any, ok: boolean, epoch: number, gen: number, dup?: boolean, result?: any, error?: Fault}} Reply
 * @typedef {{cmd: 'snapshot' | 'replay', args: Record<string, any>, answered: (reply: Reply) => void}} Request
 * @typedef {{stream: string, seq: number, messages: [string | Uint8Array, Uint8Array][], offset?: number}} State
 * @typedef {{streams: State[], next: string | null, offset?: number}} Page
 */

/** The pages of one snapshot, put together again. */
class Pages {
  /** @type {string | null} */
  after = null;
  /** @type {State | null} the last stream so far, which may go on in the next page */
  #open = null;

  /**
   * @param {Page} page
   * @returns {State[]} the streams that are complete with it
   */
  add({ streams, next, offset }) {
    const complete = [];
    for (const part of streams.map((each) => ({ ...each, offset }))) {
      const open = this.#open;
      if (open?.stream === part.stream && open.seq === part.seq) {
        this.#open = { ...open, messages: open.messages.concat(part.messages) };
        continue;
      }
      // The same stream with another number has changed between the pages and begins anew.
      if (open && open.stream !== part.stream) complete.push(open);
      this.#open = part;
    }
    this.after = next ?? null;
    if (this.after === null && this.#open) complete.push(this.#open);
    return complete;
  }
}

class Stream {
  /** Whether `last` means something: it does not before the first snapshot. */
  placed = false;
  /** The number of the last message applied. */
  last = 0;
  /** The highest number that the daemon has spoken of in this epoch, */
  heard = 0;
  /** and in those before. */
  before = 0;
  /** Nothing is applied before the snapshot has said, in this epoch, where the stream is. */
  open = false;
  /** @type {Message[]} what has arrived and cannot be applied yet, by number */
  kept = [];
  /** @type {{first: number, pages: Pages, state: State | null} | null} a gap that the daemon cannot fill */
  gone = null;
  /** @type {{seq: number, messages: Message[]} | null} a state put together at this number */
  rows = null;
  /** @type {State | null} what it begins with as soon as all has arrived that the reply may have overtaken */
  found = null;
  /** The epoch in which it was followed last, where it is to be gone on with in another. */
  seen = 0;
  /** The daemon is asked for the last message that was applied: a store that lost its end may have passed its number. */
  resuming = false;
  /** Messages of epochs up to this one were told already, under numbers that were given a second time. */
  skip = 0;

  /**
   * @param {string} name
   * @param {boolean} durable
   */
  constructor(name, durable) {
    this.name = name;
    this.durable = durable;
  }

  /** Where the gap in front of what is kept ends. */
  get gapEnd() {
    return this.kept.length ? seq(this.kept[0]) - 1 : this.heard;
  }
}

class Prefix {
  welcomed = false;
  /** Every stream under it has been placed, in this epoch. */
  synced = false;
  /** It was synced in this store: a durable stream that was not heard of since then had nothing. */
  complete = false;
  /** @type {Pages | null} the snapshot that is wanted */
  pages = null;
  /** Heartbeats since its subscription, while there is no welcome. */
  waits = 0;
  /** That it is ready was told, in this epoch. */
  announced = false;
  /** @type {Set<Stream>} those that wait until all has arrived that the snapshot may have overtaken */
  waiting = new Set();
  /** @type {Map<string, Stream>} */
  streams = new Map();

  /**
   * @param {string} text
   * @param {boolean} whole  Whether streams are seen whole under it, so that gaps can be told.
   */
  constructor(text, whole) {
    this.text = text;
    this.whole = whole;
  }
}

export class Follow {
  epoch = 0;
  /** The highest number of all messages that has arrived in this epoch. */
  #offset = 0;
  /** That of its first welcome. */
  #since = 0;
  /** Seconds between heartbeats; a welcome says how many. */
  heartbeat = 1;
  /** Heartbeats heard so far. */
  beats = 0;
  /** An epoch that a reply was from, and no message yet. */
  #awaited = 0;
  /** @type {number[]} the last epochs, this one included, in the order in which they were heard */
  #epochs = [];
  /** The store, and the last epoch that was heard to use it. */
  #store = { name: '', epoch: 0 };
  #down = false;
  /** @type {number | null} the number of the last heartbeat of this epoch */
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
   * @param {string[]} prefixes  What the application wants to hear: none may contain another.
   * @param {string} root  What the daemon is configured to put in front of all topics, with the dot behind it.
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
   * Follows these prefixes, too.
   *
   * @param {string[]} prefixes  Those that are followed already, by themselves or as a part of another, change nothing.
   * @returns {string[]} what is to be subscribed to
   * @throws {Error} where one contains what is followed already
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

  /** What has to be subscribed to. */
  get subscriptions() {
    return [...this.#prefixes.map((prefix) => prefix.text), this.#root + HEARTBEAT];
  }

  /** @returns {Event[]} what the application has not been told yet */
  take() {
    const events = this.#events;
    this.#events = [];
    return events;
  }

  /**
   * @returns {string[]} prefixes whose welcome was lost, or that another welcome is wanted for, which says what has
   *   arrived: subscribe to them again, and they are welcomed again
   */
  unwelcomed() {
    const prefixes = [...this.#unwelcomed];
    this.#unwelcomed.clear();
    return prefixes;
  }

  /** @returns {Request | null} the one command to be sent now; the same one until it is answered or not wanted any more */
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
      if (this.#epochs.includes(body.epoch)) return; // what comes late of one that is over
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
   * All that was published up to this number, and is not lost, is here.
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
   * @param {Request} request  As `request` gave it.
   * @param {Reply} reply
   */
  answered(request, reply) {
    if (request !== this.#request) return;
    this.#request = null;
    // The commands' socket may hear of a restart first, when messages of the old epoch are still to be received.
    if (reply.epoch === this.epoch) request.answered(reply);
    else if (!this.#epochs.includes(reply.epoch)) this.#awaited = reply.epoch;
  }

  /** No heartbeat for three times its interval. */
  silent() {
    if (!this.#down) this.#tell({ event: 'down' });
    this.#down = true;
  }

  // --- what the daemon says of itself -------------------------------------------------------------------------------

  /** @param {number} epoch */
  #newEpoch(epoch) {
    const first = this.epoch === 0;
    for (const prefix of this.#prefixes.filter(({ whole }) => whole)) {
      for (const stream of prefix.waiting) {
        // No more comes of that epoch. What was on its way can be had again: so many it were at most.
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
   * @param {number} seen  The epoch that is over.
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
        // Of an epoch in between nobody has said which store its numbers are from.
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
    // Streams that are not durable are named for three heartbeats only: whoever missed as many asks for all of them.
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
      // Pages of a snapshot may take longer than a heartbeat, and be older.
      if (prefix?.whole && prefix.welcomed) this.#hear(prefix, this.#stream(prefix, name), last);
    }
  }

  /** In the same epoch the numbers hold, and a snapshot from its beginning tells where the streams are by now. */
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
   * A stream of a snapshot. Messages that it has overtaken may be on their way: those come behind the state before them.
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
   * @param {number} lost  How many messages up to it may never come by themselves.
   */
  #place(prefix, stream, state, lost = 0) {
    const kept = stream.kept.findLast(({ body }) => body.epoch !== this.epoch);
    if (!stream.open && stream.placed && state.seq < Math.max(stream.before, kept ? seq(kept) : 0)) {
      this.#renew(prefix, stream);
    } else if (!stream.open && stream.placed && stream.last > 0 && stream.seen) {
      stream.resuming = true;
      stream.kept = stream.kept.filter(({ body }) => body.epoch === this.epoch); // the rest is had again by its number
    }
    if (!stream.placed) this.#begin(stream, state, stream.skip ? state.offset ?? 0 : lost);
    this.#forgetFound(prefix, stream);
    stream.seen = stream.resuming ? stream.seen : 0;
    stream.placed = stream.open = true;
    this.#hear(prefix, stream, state.seq);
  }

  /**
   * The daemon could not save the last messages before it died, and gives their numbers a second time.
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
   * The daemon was asked for the last message that was applied, and for those behind it.
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
      prefix.pages = new Pages(); // the state that it begins with
      prefix.synced = false;
      return;
    }
    stream.seen = 0;
    // Only the message that was applied before the restart is kept no more.
    if (reply.error?.code === 'E_GAP_TOO_OLD' && (reply.error.first ?? 0) <= last + 1) return this.#settle(stream);
    this.#replayed(stream, to, reply);
  }

  /**
   * A stream begins with its state, as it was before the first message that has come: that may be in no snapshot.
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
        if (seq(message) <= stream.last) continue; // it has come by itself in the meantime
        this.#lose(stream, seq(message) - 1, 'missing');
        this.#apply(stream, replayed(message));
      }
      const more = (result.next ?? null) !== null && result.messages.length > 0;
      if (!more) this.#lose(stream, to, 'missing');
    }
    this.#settle(stream);
  }

  /**
   * The state of a stream in place of messages that the daemon has no more.
   * @param {Stream} stream
   * @param {Page} page
   */
  #remains(stream, page) {
    const gone = /** @type {NonNullable<Stream['gone']>} */ (stream.gone);
    gone.state = gone.pages.add(page).find(({ stream: name }) => name === stream.name) ?? gone.state;
    if (gone.pages.after !== null) return;
    stream.gone = null;
    const last = stream.last;
    const end = Math.min(gone.first - 1, stream.gapEnd); // what is kept is not lost, whatever the daemon has forgotten
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
   * Applies what can be applied.
   * @param {Prefix} prefix
   * @param {Stream} stream
   */
  #advance(prefix, stream) {
    if (!stream.open) return;
    if (prefix.whole) return this.#settle(stream);
    for (const message of stream.kept.splice(0)) {
      if (seq(message) > stream.last) this.#apply(stream, message);
    }
    if (stream.rows) stream.last = Math.max(stream.last, stream.rows.seq); // the messages up to there are not all for us
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
   * @param {Message[]} instead  State that stands in for what is lost.
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
   * The stream ended with the epoch before: tells what is kept of it, and what is therefore lost, and forgets it.
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
 * The messages of a state as they were published; rows of one number stay in the order in which they were given.
 * @param {State} state
 */
function inOrder({ messages }) {
  return messages.map(opened).sort((one, other) => seq(one) - seq(other));
}
