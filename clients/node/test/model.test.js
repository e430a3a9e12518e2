/**
 * Random worlds: a daemon that publishes, forgets and is restarted, and a network that loses messages at random. In each
 * world the application must end with exactly the published messages, or with the sequence numbers of those it lost.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { encode } from '@msgpack/msgpack';

import { Follow } from '../follow.js';

/** @typedef {import('../messages.js').Body} Body */
/** @typedef {{topic: string, body: Body}} Message */

const DEPTH = 'md.B+depth.';
const STREAMS = ['md.A.', DEPTH, 'req.me.', 'ord.me.', 'ord.you.', 'exec.me.'];
const PREFIXES = ['md.', 'req.me.', 'ord.', 'exec.me.'];
const EVENTS = new Set(['exec.me.']); // these have no state

/**
 * Returns a source of numbers in [0, 1) that depend on the seed alone (mulberry32).
 * @param {number} seed
 */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let value = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 4294967296;
  };
}

class Log {
  /** @type {Message[]} */
  messages = [];
  /** Oldest sequence number that is kept. */
  first = 1;

  /** @param {string} name */
  constructor(name) {
    this.name = name;
    this.durable = !/^(md|req|news)\./.test(name);
  }

  get last() {
    return this.messages.length;
  }

  /** Returns the state of the stream, as in a snapshot. */
  state() {
    if (EVENTS.has(this.name)) return [];
    const last = new Map(this.messages.map((message) => [message.body.data.topic, message]));
    if (this.name !== DEPTH) return [...last.values()].reverse();
    return [...last.entries()].sort().map(([, { topic, body }]) =>
      ({ topic, body: { ...body, seq: this.last, flags: ['synthetic'] } }));
  }
}

class World {
  epoch = 1;
  store = 1;
  ts = 1e6;
  beats = 0;
  offset = 0;
  id = 0;
  loss = 0;
  connected = true;
  /** @type {Map<string, Log>} */
  logs = new Map();
  /** @type {Map<string, number>} heartbeats that still name the stream */
  fresh = new Map();
  /** @type {Message[]} what is under way to the subscriber */
  wire = [];

  /** @param {() => number} draw */
  constructor(draw) {
    this.draw = draw;
  }

  /** @param {number} n */
  below(n) {
    return Math.floor(this.draw() * n);
  }

  /**
   * @param {string} topic
   * @param {Body} body
   */
  send(topic, body) {
    if (this.connected && this.draw() >= this.loss) this.wire.push({ topic, body });
  }

  publish() {
    const name = STREAMS[this.below(STREAMS.length)];
    let log = this.logs.get(name);
    if (!log) this.logs.set(name, log = new Log(name));
    for (let n = this.below(6); n >= 0; n -= 1) {
      const topic = `${name}t${this.below(3)}.`;
      const body = { type: 't', seq: log.last + 1, offset: (this.offset += 1), epoch: this.epoch, gen: 1, ts: this.ts,
        data: { id: (this.id += 1), topic } };
      log.messages.push({ topic, body });
      this.send(topic, body);
    }
    this.fresh.set(name, 3);
  }

  beat() {
    this.ts += 1e6;
    this.beats += 1;
    /** @type {Record<string, number>} */
    const seqs = {};
    for (const [name, { durable, last }] of this.logs) {
      const left = this.fresh.get(name) ?? 0;
      if (durable || left) seqs[name] = last;
      this.fresh.set(name, Math.max(0, left - 1));
    }
    this.send('sys.bridge.heartbeat.', { type: 'heartbeat', epoch: this.epoch, gen: 1, ts: this.ts,
      data: { beat: this.beats, offset: this.offset, seqs, store: { name: `${this.store}`, fault: null } } });
  }

  /** @param {string[]} prefixes */
  welcome(prefixes) {
    for (const prefix of prefixes) {
      this.send(prefix, { type: 'welcome', epoch: this.epoch, gen: 1, offset: this.offset, beat: this.beats, heartbeat: 1,
        store: `${this.store}` });
    }
  }

  /** Forgets old messages. */
  forget() {
    for (const log of this.logs.values()) {
      const margin = log.durable ? 60 : 12;
      log.first = Math.max(log.first, log.last - this.below(margin) + 1);
    }
  }

  restart(otherStore = false) {
    this.epoch += 1;
    this.offset = this.beats = 0;
    if (otherStore) this.store += 1;
    for (const [name, log] of this.logs) if (otherStore || !log.durable) this.logs.delete(name);
    this.fresh.clear();
    this.connected = false;
  }

  /**
   * @param {string} cmd
   * @param {Record<string, any>} args
   */
  carryOut(cmd, args) {
    const head = { id: 1, epoch: this.epoch, gen: 1 };
    if (cmd === 'snapshot') return { ...head, ok: true, result: this.snapshot(args.prefix, args.after) };
    const log = this.logs.get(args.stream) ?? new Log(args.stream);
    if (args.from < log.first) {
      return { ...head, ok: false, error: { code: 'E_GAP_TOO_OLD', message: '', outcome: 'refused', first: log.first } };
    }
    const end = Math.min(args.to, log.last, args.from + this.below(4));
    const messages = log.messages.slice(args.from - 1, end).map(frames);
    return { ...head, ok: true, result: { stream: args.stream, messages, next: end < Math.min(args.to, log.last) ? end + 1 : null } };
  }

  /**
   * Returns a page of a snapshot. A page has two messages, so it may end within a stream.
   * @param {string} prefix
   * @param {string} after  Stream and how many of its messages were given, at which number.
   */
  snapshot(prefix, after = '||') {
    const [name, given, at] = after.split('|');
    const streams = [];
    let room = 2;
    for (const log of [...this.logs.values()].sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (!log.name.startsWith(prefix) || log.name < name) continue;
      const skip = log.name === name && Number(at) === log.last ? Number(given) : 0;
      const state = log.state();
      if (log.name === name && Number(at) === log.last && skip >= state.length) continue;
      if (!room) return { streams, next: `${log.name}|0|-1`, offset: this.offset };
      const part = state.slice(skip, skip + room);
      streams.push({ stream: log.name, seq: log.last, messages: part.map(frames) });
      room -= Math.min(room, Math.max(1, part.length));
      this.next = `${log.name}|${skip + part.length}|${log.last}`;
      if (skip + part.length < state.length) return { streams, next: this.next, offset: this.offset };
    }
    return { streams, next: null, offset: this.offset };
  }
  next = '';
}

/**
 * @param {Message} message
 * @returns {[string, Uint8Array]}
 */
function frames({ topic, body }) {
  return [topic, encode(body)];
}

/** Application that follows the events, and checks that they break no rule. */
class Application {
  /** @type {Map<string, {last: number, state: Map<string, number>, rows: number, have: Set<number>, ids: Set<number>}>} */
  streams = new Map();
  lost = 0;

  /** @param {string} name */
  stream(name) {
    let stream = this.streams.get(name);
    if (!stream) this.streams.set(name, stream = { last: 0, state: new Map(), rows: 0, have: new Set(), ids: new Set() });
    return stream;
  }

  /** @param {import('../messages.js').Event} event */
  hears(event) {
    if (event.event === 'message') {
      this.applies(event.topic, event.body);
    } else if (event.event === 'lost') {
      const stream = this.stream(event.stream);
      assert.ok(event.from > stream.last && event.to >= event.from, `${JSON.stringify(event)} after ${stream.last}`);
      for (let seq = event.from; seq <= event.to; seq += 1) stream.have.add(seq);
      this.lost += event.to - event.from + 1;
      if (event.stream === DEPTH) stream.state.clear();
    } else if (event.event === 'epoch') {
      for (const name of this.streams.keys()) if (!new Log(name).durable) this.streams.delete(name);
    } else if (event.event === 'store') {
      this.streams.clear();
    }
  }

  /**
   * @param {string} topic
   * @param {Body} body
   */
  applies(topic, { seq = 0, flags = [], data }) {
    const name = STREAMS.find((each) => topic.startsWith(each));
    assert.ok(name);
    const stream = this.stream(name);
    if (flags.includes('synthetic')) {
      if (stream.rows !== seq) stream.state.clear();
      stream.rows = seq;
      assert.ok(seq >= stream.last, `rows at ${seq} of ${name} after ${stream.last}`);
    } else {
      assert.ok(seq > stream.last, `${name} ${seq} after ${stream.last}`);
      assert.ok(!stream.ids.has(data.id), `${name} ${seq} twice`);
      stream.ids.add(data.id);
      stream.have.add(seq);
    }
    stream.last = seq;
    stream.state.set(data.topic, data.id);
  }
}

class Run {
  follow = new Follow(PREFIXES);
  application = new Application();
  /** @type {Map<string, number>} the number from which a stream must be complete */
  begun = new Map();
  /** @type {Set<string>} streams that are begun, as the application knows */
  told = new Set();
  /** @type {Map<string, {stream: string, seq: number}>} by prefix, the last stream of a page, which may go on in the next */
  open = new Map();

  /** @param {number} seed */
  constructor(seed) {
    this.world = new World(random(seed));
    this.world.welcome(PREFIXES);
  }

  hear() {
    this.world.welcome(this.follow.unwelcomed());
    for (const event of this.follow.take()) {
      if (event.event === 'epoch') this.beginAgain();
      if (event.event === 'ready') for (const name of STREAMS) if (name.startsWith(event.prefix)) this.told.add(name);
      this.application.hears(event);
    }
  }

  /** Forgets streams that waited for messages overtaken by their snapshot: another snapshot will begin them. */
  beginAgain() {
    for (const key of this.begun.keys()) {
      const [name] = key.split(' ');
      if (!this.told.has(name) && !this.application.streams.has(name)) this.begun.delete(key);
    }
    this.told.clear();
  }

  deliver() {
    const message = this.world.wire.shift();
    if (message) this.follow.received(message.topic, message.body);
    this.hear();
  }

  ask(chance = 1) {
    const request = this.follow.request();
    if (!request || this.world.draw() > chance) return;
    /** @type {any} */
    const reply = this.world.carryOut(request.cmd, request.args);
    if (this.world.draw() > chance) return;
    if (reply.epoch === this.follow.epoch && PREFIXES.includes(request.args.prefix)) this.note(/** @type {any} */ (request.args), reply.result);
    this.follow.answered(request, reply);
    this.hear();
  }

  /**
   * A stream begins at the number of its first snapshot, or at 0 if there was one without it.
   * @param {{prefix: string, after?: string}} args
   * @param {any} result
   */
  note({ prefix, after }, { streams, next }) {
    let open = after === undefined ? undefined : this.open.get(prefix);
    for (const state of streams) {
      if (open && open.stream !== state.stream) this.begin(open);
      open = state;
    }
    if (open) this.open.set(prefix, open);
    if (next !== null) return;
    if (open) this.begin(open);
    for (const stream of STREAMS) if (stream.startsWith(prefix)) this.begin({ stream, seq: 0 });
  }

  /** @param {{stream: string, seq: number}} state */
  begin({ stream, seq }) {
    const key = this.incarnation(stream);
    if (!this.begun.has(key)) this.begun.set(key, seq);
  }

  /** @param {string} stream */
  incarnation(stream) {
    return `${stream} ${new Log(stream).durable ? this.world.store : this.world.epoch}`;
  }

  reconnect() {
    if (this.world.connected) return;
    this.world.connected = true;
    this.world.welcome(PREFIXES);
  }

  step() {
    const { world } = this;
    const what = world.draw();
    if (what < 0.35) world.publish();
    else if (what < 0.7) for (let n = world.below(8); n >= 0; n -= 1) this.deliver();
    else if (what < 0.86) this.ask(0.85);
    else if (what < 0.91) world.beat();
    else if (what < 0.93) world.loss = [0, 0.1, 0.5, 1][world.below(4)];
    else if (what < 0.95) world.forget();
    else if (what < 0.975) world.connected = false;
    else if (what < 0.99) this.reconnect();
    else world.restart(world.draw() < 0.2);
  }

  /** Lets all messages under way arrive, and answers all commands that the follower wants. */
  settle() {
    this.world.loss = 0;
    this.reconnect();
    for (let n = 0; n < 5; n += 1) {
      this.world.beat();
      while (this.world.wire.length) this.deliver();
      for (let left = 10_000; this.follow.request(); left -= 1) {
        assert.ok(left, `asks for ever: ${JSON.stringify(this.follow.request())}`);
        this.ask();
      }
    }
    this.hear();
  }

  check() {
    let published = 0;
    for (const log of this.world.logs.values()) {
      const { state, have, last } = this.application.stream(log.name);
      const begun = this.begun.get(this.incarnation(log.name)) ?? NaN;
      assert.equal(Math.max(last, ...have, begun), log.last, `${log.name}: the end`);
      for (let seq = begun + 1; seq <= log.last; seq += 1) assert.ok(have.has(seq), `${log.name} ${seq}: neither had nor lost`);
      if (!EVENTS.has(log.name)) {
        const expected = new Map(log.messages.map(({ body }) => [body.data.topic, body.data.id]));
        assert.deepEqual(new Map([...state].sort()), new Map([...expected].sort()), `${log.name}: the state`);
      }
      published += log.last - begun;
    }
    return published;
  }
}

test('whatever is lost on the way, the application has all of it or knows what not', () => {
  const worlds = Number(process.env.WORLDS ?? 1000);
  let published = 0;
  let lost = 0;
  for (let seed = 1; seed <= worlds; seed += 1) {
    const run = new Run(seed);
    try {
      for (let n = 0; n < 300; n += 1) run.step();
      run.settle();
      published += run.check();
      lost += run.application.lost;
    } catch (error) {
      throw new Error(`in the world of seed ${seed}: ${error}`, { cause: error });
    }
  }
  // Worlds in which nothing happens would prove nothing.
  assert.ok(published > 50 * worlds, `${published} messages were to be had`);
  assert.ok(lost > worlds, `${lost} were lost for good`);
});
