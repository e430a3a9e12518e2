/** Tests of each point of the recipe "Following streams without a hole or a duplicate", as tables of input and events. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { encode } from '@msgpack/msgpack';

import { Follow } from '../follow.js';

/** @typedef {import('../messages.js').Body} Body */

const A = 'md.A.';
const ORD = 'ord.me.';

/**
 * @param {string} stream
 * @param {number} seq
 * @param {number} epoch
 * @param {Partial<Body>} rest
 * @returns {[string, Body]}
 */
function message(stream, seq, epoch = 1, rest = {}) {
  return [`${stream}tick.`, { type: 'tick', seq, offset: seq, epoch, gen: 1, ts: 0, data: { id: seq }, ...rest }];
}

/**
 * Returns the events in short: `md.A.#4`, with `~` before a replayed message and `=` before synthetic state.
 * @param {Follow} follow
 */
function heard(follow) {
  return follow.take().map((event) => {
    switch (event.event) {
      case 'message': {
        const flags = event.body.flags ?? [];
        const mark = (flags.includes('synthetic') ? '=' : '') + (flags.includes('replayed') ? '~' : '');
        return `${mark}${event.topic.replace('tick.', '')}#${event.body.seq}`;
      }
      case 'lost': return `lost ${event.stream} ${event.from}-${event.to} ${event.why}`;
      case 'ready': return `ready ${event.prefix}`;
      case 'renewed': return `renewed ${event.stream}`;
      default: return event.event;
    }
  });
}

/** Conversation of one subscriber with one daemon. */
class Talk {
  epoch = 1;
  store = 'S';
  beat = 0;

  /**
   * @param {string[]} prefixes
   * @param {string} root
   */
  constructor(prefixes, root = '') {
    this.root = root;
    this.follow = new Follow(prefixes, root);
  }

  /** @param {string} prefix */
  welcome(prefix, offset = 0) {
    const { epoch, store } = this;
    this.follow.received(prefix, { type: 'welcome', proto: 1, epoch, gen: 1, offset, beat: this.beat, heartbeat: 1, store });
    return this;
  }

  /** @param {Record<string, number>} seqs */
  heartbeat(seqs = {}, beats = 1) {
    const { epoch, store } = this;
    this.beat += beats;
    const data = { proto: 1, beat: this.beat, offset: 1000, seqs, tws: {}, store: { name: store, fault: null }, halt: null, unsent: 0 };
    this.follow.received(`${this.root}sys.bridge.heartbeat.`, { type: 'heartbeat', epoch, gen: 1, ts: 0, data });
    return this;
  }

  /**
   * @param {string} stream
   * @param {...number} seqs
   */
  says(stream, ...seqs) {
    for (const seq of seqs) this.follow.received(...message(stream, seq, this.epoch));
    return this;
  }

  /**
   * Expects that the follower wants this command, as text, and gives the reply.
   * @param {string} expected
   * @param {Record<string, any>} reply
   */
  asked(expected, reply) {
    const request = this.follow.request();
    assert.ok(request, `nothing is asked, and should be: ${expected}`);
    assert.equal(`${request.cmd} ${JSON.stringify(request.args).replaceAll('"', '')}`, expected);
    this.follow.answered(request, { id: 1, ok: !reply.error, epoch: this.epoch, gen: 1, ...reply });
    return this;
  }

  /** @param {...string} expected */
  hears(...expected) {
    assert.deepEqual(heard(this.follow), expected);
    return this;
  }

  content() {
    assert.equal(this.follow.request(), null);
    return this.hears();
  }
}

/**
 * @param {Record<string, [number, ...(number | Body)[]]>} streams  Number, and the numbers of the messages, by stream.
 * @param {string | null} next
 * @param {number} offset
 */
function state(streams, next = null, offset = 0) {
  return {
    result: {
      streams: Object.entries(streams).map(([stream, [seq, ...numbers]]) => ({
        stream, seq, messages: numbers.map((each) => frames(stream, each)),
      })),
      next,
      offset,
    },
  };
}

/**
 * @param {string} stream
 * @param {number[]} numbers
 * @param {number | null} next
 */
function messages(stream, numbers, next = null) {
  return { result: { stream, messages: numbers.map((each) => frames(stream, each)), next } };
}

/**
 * @param {string} stream
 * @param {number | Body} each
 */
function frames(stream, each) {
  const [topic, body] = typeof each === 'number' ? message(stream, each) : message(stream, 0, 1, each);
  return [new TextEncoder().encode(topic), encode(body)];
}

const begun = () => new Talk(['md.', ORD]).welcome('md.').welcome(ORD)
  .asked('snapshot {prefix:md.}', state({ [A]: [5, 3, 5] })).asked(`snapshot {prefix:${ORD}}`, state({ [ORD]: [2, 2] }))
  .hears('~md.A.#3', '~md.A.#5', 'ready md.', '~ord.me.#2', 'ready ord.me.');

test('1. nothing is asked before the welcome, and nobody else\'s welcome counts', () => {
  const talk = new Talk(['md.']);
  assert.deepEqual(talk.follow.subscriptions, ['md.', 'sys.bridge.heartbeat.']);
  talk.welcome('md.A.').welcome('ord.').content();
  talk.welcome('md.').asked('snapshot {prefix:md.}', state({})).hears('ready md.').welcome('md.').content();
});

test('1. what came before the snapshot is told, after the state as it was then: an execution is in no snapshot', () => {
  new Talk(['md.']).welcome('md.').says(A, 4, 5, 6).says('md.B.', 1)
    .hears()
    .asked('snapshot {prefix:md.}', state({ [A]: [5, 5, 3] }))
    .hears('~md.A.#3', 'md.A.#4', 'md.A.#5', 'md.A.#6', 'md.B.#1', 'ready md.').content();
});

test('1. what the snapshot has overtaken comes behind the state before it', () => {
  const talk = new Talk(['md.']).welcome('md.').asked('snapshot {prefix:md.}', state({ [A]: [5, 2, 5] }, null, 5)).hears();
  assert.deepEqual(talk.follow.unwelcomed(), ['md.']);
  talk.says(A, 4).hears('~md.A.#2', 'md.A.#4', 'ready md.').says(A, 5, 6).hears('md.A.#5', 'md.A.#6').says(A, 5).content();
});

test('1. if nothing was on its way, another welcome says so, or a heartbeat', () => {
  const talk = new Talk(['md.']).welcome('md.').asked('snapshot {prefix:md.}', state({ [A]: [5, 2, 5] }, null, 5));
  talk.welcome('md.').hears();
  talk.welcome('md.', 5).hears('~md.A.#2', '~md.A.#5', 'ready md.').says(A, 6).hears('md.A.#6').content();
  const other = new Talk(['md.']).welcome('md.').asked('snapshot {prefix:md.}', state({ [A]: [5, 2, 5] }, null, 5));
  other.heartbeat().hears('~md.A.#2', '~md.A.#5', 'ready md.').content();
});

test('1. a stream that is in no page had nothing, so a gap from 1 shows', () => {
  new Talk(['md.']).welcome('md.').asked('snapshot {prefix:md.}', state({})).hears('ready md.')
    .says('md.B.', 3).asked('replay {stream:md.B.,from:1,to:2}', messages('md.B.', [1, 2]))
    .hears('~md.B.#1', '~md.B.#2', 'md.B.#3').content();
});

test('1. pages: a stream goes on in the next, or begins anew there', () => {
  new Talk(['md.']).welcome('md.')
    .asked('snapshot {prefix:md.}', state({ [A]: [5, 1, 2], 'md.B.': [9, 4] }, 'p2'))
    .hears('~md.A.#1', '~md.A.#2').says(A, 6).hears('md.A.#6')
    .asked('snapshot {prefix:md.,after:p2}', state({ 'md.B.': [9, 8], 'md.C.': [7, 1] }, 'p3'))
    .hears('~md.B.#4', '~md.B.#8')
    .asked('snapshot {prefix:md.,after:p3}', state({ 'md.C.': [8, 2] }))
    .hears('~md.C.#2', 'ready md.').content();
});

test('1. heartbeats tell of more than a page that is older', () => {
  new Talk(['md.']).welcome('md.').asked('snapshot {prefix:md.}', state({ [A]: [5, 5] }, 'p2'))
    .heartbeat({ [A]: 6, 'md.B.': 1 }).asked('snapshot {prefix:md.,after:p2}', state({})).hears('~md.A.#5', 'ready md.')
    .asked('replay {stream:md.A.,from:6,to:6}', messages(A, [6])).asked('replay {stream:md.B.,from:1,to:1}', messages('md.B.', [1]))
    .hears('~md.A.#6', '~md.B.#1').content();
});

test('1. pages that span a silence begin again', () => {
  new Talk(['md.']).welcome('md.').heartbeat().asked('snapshot {prefix:md.}', state({ [A]: [5, 5], 'md.B.': [3] }, 'p2'))
    .hears('~md.A.#5').heartbeat({}, 4)
    .asked('snapshot {prefix:md.}', state({ [A]: [6, 6], 'md.B.': [4, 4] })).hears('~md.B.#4', 'ready md.')
    .asked('replay {stream:md.A.,from:6,to:6}', messages(A, [6])).hears('~md.A.#6').content();
});

test('1. a page of an epoch that is over is not taken', () => {
  const talk = new Talk(['md.']).welcome('md.').asked('snapshot {prefix:md.}', state({ [A]: [5, 5] }, 'p2')).hears();
  const late = talk.follow.request();
  assert.ok(late);
  talk.epoch = 2;
  talk.welcome('md.').hears('epoch');
  talk.follow.answered(late, { id: 1, ok: true, epoch: 1, gen: 1, ...state({ 'md.B.': [9, 9] }) });
  talk.hears().asked('snapshot {prefix:md.}', state({ [A]: [1, 1] })).hears('~md.A.#1', 'ready md.').content();
});

test('1. a welcome that was lost is asked for again after two heartbeats', () => {
  const talk = new Talk(['md.', ORD]).welcome(ORD).heartbeat();
  assert.deepEqual(talk.follow.unwelcomed(), []);
  assert.deepEqual(talk.heartbeat().follow.unwelcomed(), ['md.']);
  assert.deepEqual(talk.heartbeat().follow.unwelcomed(), []);
});

test('2. the next is applied, a duplicate dropped', () => {
  begun().says(A, 6, 6, 4, 7).says(ORD, 3, 2, 3).hears('md.A.#6', 'md.A.#7', 'ord.me.#3').content();
});

test('3. a gap is filled by replay, page by page, and what came meanwhile follows', () => {
  begun().says(A, 9, 10).hears()
    .asked('replay {stream:md.A.,from:6,to:8}', messages(A, [6, 7], 8)).hears('~md.A.#6', '~md.A.#7').says(A, 11).hears()
    .asked('replay {stream:md.A.,from:8,to:8}', messages(A, [8]))
    .hears('~md.A.#8', 'md.A.#9', 'md.A.#10', 'md.A.#11').content();
});

test('3. two gaps in one stream, while another stream goes on', () => {
  begun().says(A, 7, 9).says(ORD, 3).hears('ord.me.#3')
    .asked('replay {stream:md.A.,from:6,to:6}', messages(A, [6])).hears('~md.A.#6', 'md.A.#7')
    .asked('replay {stream:md.A.,from:8,to:8}', messages(A, [8])).hears('~md.A.#8', 'md.A.#9').content();
});

test('3. a heartbeat tells of a lost tail', () => {
  begun().heartbeat({ [A]: 5, [ORD]: 4, 'md.B.': 1, 'other.': 9 })
    .asked('replay {stream:ord.me.,from:3,to:4}', messages(ORD, [3, 4]))
    .asked('replay {stream:md.B.,from:1,to:1}', messages('md.B.', [1]))
    .hears('~ord.me.#3', '~ord.me.#4', '~md.B.#1').content();
});

test('3. what has come by itself meanwhile is not told twice', () => {
  const talk = begun().heartbeat({ [A]: 7 });
  talk.follow.request();
  talk.says(A, 6).hears('md.A.#6')
    .asked('replay {stream:md.A.,from:6,to:7}', messages(A, [6], 7))
    .asked('replay {stream:md.A.,from:7,to:7}', messages(A, [7])).hears('~md.A.#7').content();
});

test('3. a reply that does not come is asked for again, and a late one is taken for what it is', () => {
  const talk = begun().says(A, 7);
  const request = talk.follow.request();
  assert.ok(request);
  assert.equal(talk.follow.request(), request);
  talk.asked('replay {stream:md.A.,from:6,to:6}', messages(A, [6])).hears('~md.A.#6', 'md.A.#7');
  talk.follow.answered(request, { id: 1, ok: true, epoch: 1, gen: 1, ...messages(A, [6]) });
  talk.content();
});

test('3. what the daemon cannot give is told to be lost', () => {
  begun().says(ORD, 5).asked('replay {stream:ord.me.,from:3,to:4}', { error: { code: 'E_STORE', message: '' } })
    .hears('lost ord.me. 3-4 E_STORE', 'ord.me.#5').content();
  begun().says(A, 9).asked('replay {stream:md.A.,from:6,to:8}', messages(A, [7]))
    .hears('lost md.A. 6-6 missing', '~md.A.#7', 'lost md.A. 8-8 missing', 'md.A.#9').content();
});

test('4. too old: what is lost is said, its state stands in, and the rest is replayed', () => {
  begun().says(A, 20).asked('replay {stream:md.A.,from:6,to:19}', { error: { code: 'E_GAP_TOO_OLD', message: '', first: 12 } })
    .asked('snapshot {prefix:md.A.}', state({ [A]: [21, 4, 21, 9, 11, 15] }))
    .hears('lost md.A. 6-11 E_GAP_TOO_OLD', '~md.A.#9', '~md.A.#11')
    .asked('replay {stream:md.A.,from:12,to:19}', messages(A, [12, 13, 14, 15, 16, 17, 18, 19]))
    .hears(...[12, 13, 14, 15, 16, 17, 18, 19].map((seq) => `~md.A.#${seq}`), 'md.A.#20').content();
});

test('4. what was kept is not lost, although the daemon has it no more', () => {
  begun().says(A, 8, 9).asked('replay {stream:md.A.,from:6,to:7}', { error: { code: 'E_GAP_TOO_OLD', message: '', first: 30 } })
    .asked('snapshot {prefix:md.A.}', state({ [A]: [33, 7, 9, 33] }))
    .hears('lost md.A. 6-7 E_GAP_TOO_OLD', '~md.A.#7', 'md.A.#8', 'md.A.#9').content();
});

test('4. the rows of a book come when their number is reached, after the message with that number', () => {
  /** @param {number} position */
  const row = (position) => message(A, 10, 1, { flags: ['synthetic'], data: { position } })[1];
  begun().says(A, 8).asked('replay {stream:md.A.,from:6,to:7}', { error: { code: 'E_GAP_TOO_OLD', message: '', first: 7 } })
    .asked('snapshot {prefix:md.A.}', state({ [A]: [10, row(0), row(1)] })).hears('lost md.A. 6-6 E_GAP_TOO_OLD')
    .asked('replay {stream:md.A.,from:7,to:7}', messages(A, [7])).hears('~md.A.#7', 'md.A.#8')
    .says(A, 9).hears('md.A.#9')
    .asked('replay {stream:md.A.,from:10,to:10}', messages(A, [10])).hears('~md.A.#10', '=~md.A.#10', '=~md.A.#10')
    .says(A, 10, 11).hears('md.A.#11').content();
});

test('4. too old once more, before the rest could be had', () => {
  begun().says(A, 20).asked('replay {stream:md.A.,from:6,to:19}', { error: { code: 'E_GAP_TOO_OLD', message: '', first: 10 } })
    .asked('snapshot {prefix:md.A.}', state({ [A]: [20, 20] })).hears('lost md.A. 6-9 E_GAP_TOO_OLD')
    .asked('replay {stream:md.A.,from:10,to:19}', { error: { code: 'E_GAP_TOO_OLD', message: '', first: 40 } })
    .asked('snapshot {prefix:md.A.}', state({ [A]: [44, 44] })).hears('lost md.A. 10-19 E_GAP_TOO_OLD', 'md.A.#20').content();
});

test('4. a first number that helps nobody ends in an honest loss, not in a loop', () => {
  begun().says(A, 8).asked('replay {stream:md.A.,from:6,to:7}', { error: { code: 'E_GAP_TOO_OLD', message: '', first: 6 } })
    .hears('lost md.A. 6-7 E_GAP_TOO_OLD', 'md.A.#8').content();
});

test('5. the same store: durable streams are replayed across the epoch, the others begin again', () => {
  const talk = begun();
  talk.epoch = 2;
  talk.welcome(ORD).hears('epoch').says(ORD, 6).says(A, 2).hears()
    .asked(`snapshot {prefix:${ORD}}`, state({ [ORD]: [5, 5], 'ord.me.x.': [1, 1] })).hears('ready ord.me.')
    .welcome('md.').asked('snapshot {prefix:md.}', state({ [A]: [1, 1] })).hears('~md.A.#1', 'md.A.#2', 'ready md.')
    .asked('replay {stream:ord.me.,from:2,to:5}', messages(ORD, [2, 3, 4, 5]))
    .hears('~ord.me.#3', '~ord.me.#4', '~ord.me.#5', 'ord.me.#6')
    .asked('replay {stream:ord.me.x.,from:1,to:1}', messages('ord.me.x.', [1])).hears('~ord.me.x.#1').content();
});

for (const epoch of [99, 101]) {
  test(`5. any other epoch is a new one (${epoch}), and what comes late of one that is over is ignored`, () => {
    const talk = new Talk(['md.']);
    talk.epoch = 100;
    talk.welcome('md.').hears().asked('snapshot {prefix:md.}', state({})).hears('ready md.');
    talk.epoch = epoch;
    talk.welcome('md.').hears('epoch').asked('snapshot {prefix:md.}', state({})).hears('ready md.');
    talk.epoch = 100;
    talk.welcome('md.').says(A, 1).hears();
    assert.equal(talk.follow.epoch, epoch);
    talk.epoch = epoch;
    talk.says(A, 1).hears('md.A.#1').content();
  });
}

test('5. a reply of an epoch that is not heard yet is waited for, and one of an epoch that is over is not', () => {
  const talk = new Talk(['md.']);
  talk.epoch = 100;
  talk.welcome('md.');
  talk.epoch = 99;
  talk.asked('snapshot {prefix:md.}', state({})).hears();
  assert.equal(talk.follow.request(), null);
  talk.welcome('md.').hears('epoch');
  talk.epoch = 100;
  talk.asked('snapshot {prefix:md.}', state({ [A]: [7, 7] })).hears();
  talk.epoch = 99;
  talk.asked('snapshot {prefix:md.}', state({})).hears('ready md.').content();
});

test('5. a gap that was open ends with the epoch, or goes on across it', () => {
  const talk = begun().says(A, 8).says(ORD, 5).heartbeat({ [A]: 9, [ORD]: 5 });
  talk.epoch = 2;
  talk.welcome('md.').hears('lost md.A. 6-7 epoch', 'md.A.#8', 'lost md.A. 9-9 epoch', 'epoch')
    .asked('snapshot {prefix:md.}', state({})).hears('ready md.').content()
    .welcome(ORD).asked(`snapshot {prefix:${ORD}}`, state({ [ORD]: [5, 5] })).hears('ready ord.me.')
    .asked('replay {stream:ord.me.,from:2,to:5}', messages(ORD, [2, 3, 4, 5])).hears('~ord.me.#3', '~ord.me.#4', '~ord.me.#5').content();
});

test('5. another store: everything begins again', () => {
  const talk = begun().says(ORD, 4);
  talk.epoch = 2;
  talk.store = 'T';
  talk.says(ORD, 2).hears('epoch').welcome(ORD).hears('lost ord.me. 3-3 store', 'ord.me.#4', 'store')
    .asked(`snapshot {prefix:${ORD}}`, state({ [ORD]: [1, 1] })).hears('~ord.me.#1', 'ord.me.#2', 'ready ord.me.').content();
});

test('5. another store: what came while its name was not known is of neither', () => {
  const talk = begun();
  talk.epoch = 2;
  talk.says(ORD, 3).hears('epoch');
  talk.epoch = 3;
  talk.store = 'T';
  talk.welcome(ORD).hears('epoch', 'store').asked(`snapshot {prefix:${ORD}}`, state({ [ORD]: [4, 4] }))
    .hears('~ord.me.#4', 'ready ord.me.').content();
});

test('5. another store: a stream that was not there before has no past to be replayed', () => {
  const talk = begun();
  talk.epoch = 2;
  talk.store = 'T';
  talk.welcome(ORD).hears('epoch', 'store').asked(`snapshot {prefix:${ORD}}`, state({ 'ord.me.x.': [9, 9] }))
    .hears('~ord.me.x.#9', 'ready ord.me.').content();
});

test('5. a store that lost its tail: what was kept counts as well', () => {
  const talk = begun().says(ORD, 6);
  talk.epoch = 2;
  talk.welcome(ORD).hears('epoch').asked(`snapshot {prefix:${ORD}}`, state({ [ORD]: [4, 4] }))
    .hears('lost ord.me. 3-5 renewed', 'ord.me.#6', 'renewed ord.me.', '~ord.me.#4', 'ready ord.me.').content();
});

test('5. a store that lost its tail: the stream is a new one', () => {
  const talk = begun().says(ORD, 3, 4, 6).hears('ord.me.#3', 'ord.me.#4');
  talk.epoch = 2;
  talk.welcome(ORD).says(ORD, 3).hears('epoch').asked(`snapshot {prefix:${ORD}}`, state({ [ORD]: [2, 2] }))
    .hears('lost ord.me. 5-5 renewed', 'ord.me.#6', 'renewed ord.me.', '~ord.me.#2', 'ord.me.#3', 'ready ord.me.').content();
});

/** @param {...number} seqs */
const given = (...seqs) => seqs.map((seq) => /** @type {any} */ ({ seq, epoch: 2 }));

test('5. a store that lost its tail and has passed it since: the stream is a new one, and nothing new is missing', () => {
  const talk = begun().says(ORD, 3, 4).hears('ord.me.#3', 'ord.me.#4');
  talk.epoch = 2;
  talk.welcome(ORD).hears('epoch').asked(`snapshot {prefix:${ORD}}`, state({ [ORD]: [5, ...given(5)] }, null, 3)).hears('ready ord.me.')
    .asked('replay {stream:ord.me.,from:4,to:5}', messages(ORD, given(4, 5))).hears('renewed ord.me.')
    .says(ORD, 6).hears()
    .asked(`snapshot {prefix:${ORD}}`, state({ [ORD]: [6, 1, ...given(6)] }, null, 4)).hears('~ord.me.#1')
    .asked('replay {stream:ord.me.,from:2,to:5}', messages(ORD, [2, ...given(3, 4, 5)]))
    .hears('~ord.me.#3', '~ord.me.#4', '~ord.me.#5', 'ord.me.#6').content();
});

test('5. a store that lost its tail and has got as far again since: the number alone does not show it', () => {
  const talk = begun().says(ORD, 3).hears('ord.me.#3');
  talk.epoch = 2;
  talk.welcome(ORD).hears('epoch').asked(`snapshot {prefix:${ORD}}`, state({ [ORD]: [3, ...given(3)] }, null, 1)).hears('ready ord.me.')
    .says(ORD, 4).hears()
    .asked('replay {stream:ord.me.,from:3,to:3}', messages(ORD, given(3))).hears('renewed ord.me.')
    .asked(`snapshot {prefix:${ORD}}`, state({ [ORD]: [4, ...given(4)] }, null, 2)).hears()
    .asked('replay {stream:ord.me.,from:2,to:3}', messages(ORD, [2, ...given(3)])).hears('~ord.me.#3', 'ord.me.#4').content();
});

test('5. the last message that was applied is kept no more: those behind it are had', () => {
  const talk = begun();
  talk.epoch = 2;
  talk.welcome(ORD).hears('epoch').asked(`snapshot {prefix:${ORD}}`, state({ [ORD]: [4, 4] })).hears('ready ord.me.')
    .asked('replay {stream:ord.me.,from:2,to:4}', { error: { code: 'E_GAP_TOO_OLD', first: 3 } })
    .asked('replay {stream:ord.me.,from:3,to:4}', messages(ORD, [3, 4])).hears('~ord.me.#3', '~ord.me.#4').content();
});

test('5. a reply tells of a restart first: what is still under way from before is heard', () => {
  const talk = begun().says(A, 7);
  talk.epoch = 2;
  talk.asked('replay {stream:md.A.,from:6,to:6}', messages(A, [6])).content();
  talk.follow.received(...message(A, 8, 1));
  talk.welcome('md.').hears('lost md.A. 6-6 epoch', 'md.A.#7', 'md.A.#8', 'epoch');
  talk.follow.received(...message(A, 9, 1));
  talk.hears().asked('snapshot {prefix:md.}', state({})).hears('ready md.').content();
});

test('6. silence is told once, and what was missed is asked for', () => {
  const talk = begun().heartbeat();
  talk.follow.silent();
  talk.follow.silent();
  talk.hears('down').heartbeat().hears('up')
    .asked('snapshot {prefix:md.}', state({ [A]: [6, 6], 'md.B.': [1, 1] })).hears()
    .asked(`snapshot {prefix:${ORD}}`, state({ [ORD]: [2, 2] }))
    .asked('replay {stream:md.A.,from:6,to:6}', messages(A, [6])).asked('replay {stream:md.B.,from:1,to:1}', messages('md.B.', [1]))
    .hears('~md.A.#6', '~md.B.#1').content();
});

test('3. what was only under way is not asked for', () => {
  const talk = begun().heartbeat({}, 1).heartbeat({}, 9).asked('snapshot {prefix:md.}', state({ [A]: [7, 7] }))
    .asked(`snapshot {prefix:${ORD}}`, state({ [ORD]: [2, 2] }));
  talk.says(A, 6, 7).hears('md.A.#6', 'md.A.#7').content();
});

test('3. heartbeats that were lost are noticed by their number, by whoever slept as well', () => {
  begun().heartbeat().heartbeat({}, 3).content().heartbeat({}, 4)
    .asked('snapshot {prefix:md.}', state({ [A]: [5, 5] })).asked(`snapshot {prefix:${ORD}}`, state({})).content();
  begun().heartbeat({}, 3).content();
  const talk = begun().heartbeat();
  talk.beat = 4;
  talk.welcome('md.').heartbeat() // another's welcome: this subscriber has missed them all the same
    .asked('snapshot {prefix:md.}', state({})).asked(`snapshot {prefix:${ORD}}`, state({})).content();
  talk.epoch = 2;
  talk.beat = 9;
  talk.welcome('md.').asked('snapshot {prefix:md.}', state({})).heartbeat().hears('epoch', 'ready md.').content();
  begun().heartbeat({}, 4).asked('snapshot {prefix:md.}', state({})).asked(`snapshot {prefix:${ORD}}`, state({})).content();
});

test('a part of a stream has no gaps, and begins again in each epoch', () => {
  const part = 'ord.me.k.';
  const talk = new Talk([part]).welcome(part).says(ORD + 'k.', 3).asked(`snapshot {prefix:${part}}`, state({ [ORD]: [7] }))
    .hears('ord.me.k.#3', 'ready ord.me.k.');
  talk.follow.received('ord.me.k.tick.', message(ORD, 11)[1]);
  talk.heartbeat({ [ORD]: 20 }).hears('ord.me.k.#11').content();
  talk.heartbeat({}, 9).asked(`snapshot {prefix:${part}}`, state({ [ORD]: [20] })).hears('ready ord.me.k.').content();
  talk.epoch = 2;
  talk.welcome(part).hears('epoch').asked(`snapshot {prefix:${part}}`, state({ [ORD]: [3] })).hears('ready ord.me.k.').content();
});

test('a configured prefix is a part of the names', () => {
  new Talk(['x.md.'], 'x.').welcome('x.md.').asked('snapshot {prefix:x.md.}', state({ 'x.md.A.': [1] }))
    .says('x.md.A.', 3).hears('ready x.md.').asked('replay {stream:x.md.A.,from:2,to:2}', messages('x.md.A.', [2]))
    .hears('~x.md.A.#2', 'x.md.A.#3').heartbeat({ 'x.md.A.': 3 }).content();
});

test('heartbeats and what else has no number are heard by those who asked for them', () => {
  const talk = new Talk(['sys.']).welcome('sys.').asked('snapshot {prefix:sys.}', state({})).hears('ready sys.').heartbeat();
  assert.deepEqual(heard(talk.follow), ['sys.bridge.heartbeat.#undefined']);
});

test('prefixes that contain each other are refused, and so is a foreign one', () => {
  assert.throws(() => new Follow(['md.', 'md.A.']), /'md\.' contains 'md\.A\.'/);
  assert.throws(() => new Follow(['md.'], 'x.'), /does not begin with 'x\.'/);
});

test('a refused snapshot is an error', () => {
  assert.throws(() => new Talk(['md.']).welcome('md.').asked('snapshot {prefix:md.}', { error: { code: 'E_ARG', message: 'no' } }),
    /E_ARG: no/);
});

test('more can be followed at any time: its state comes first', () => {
  const talk = new Talk([A]);
  const { follow } = talk;
  talk.welcome(A);
  assert.deepEqual(follow.follow(['md.B.', A, 'md.A.tick.']), ['md.B.'], 'what is followed already is not subscribed to');
  talk.welcome('md.B.');
  const asked = new Set();
  for (let request = follow.request(); request; request = follow.request()) {
    asked.add(request.args.prefix);
    follow.answered(request, { id: 1, ok: true, epoch: 1, gen: 1, result: { streams: [], next: null, offset: 0 } });
  }
  assert.deepEqual(asked, new Set([A, 'md.B.']));
  follow.received(...message('md.B.', 1));
  assert.deepEqual(heard(follow), ['ready md.A.', 'ready md.B.', 'md.B.#1']);
  assert.throws(() => follow.follow(['md.']), /'md\.' contains 'md\.A\.'/);
});
