/** Tests of what is known of one order, as tables of messages. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import { condition, KnownOrder, KnownOrders, OrderState, REASONS, STATES } from '../order-state.js';

/** @typedef {import('../order-state.js').Until} Until */

/**
 * @param {string} state
 * @param {Record<string, any>} rest
 */
const about = (state, { epoch = 1, ...rest } = {}) => ({ epoch, data: { state, changes: 1, ...rest } });

/** @param {KnownOrder} known */
const settled = (known) => known.reached(condition(undefined));

/** @param {...{epoch: number, data: any}} messages */
function knownOf(...messages) {
  const known = new KnownOrder('k', new Set());
  for (const each of messages) known.note(each);
  return known;
}

test('a state has the fields that it knows, and the end and the failure of an order', () => {
  const state = new OrderState({ state: 'done', reason: 'rejected', lastError: null, 'of a later version': 1 });
  assert.deepEqual([state.done, state.failed, state.rev, Object.hasOwn(state, 'of a later version')], [true, true, 0, false]);
  assert.equal(new OrderState({ state: 'done', reason: 'cancelled' }).failed, false);
  assert.throws(() => { /** @type {any} */ (state).state = 'sent'; }, TypeError);
});

test('a wait is for states, reasons, or what a function wants; the end of the order ends each', () => {
  const working = knownOf(about('working', { filled: 40 }));
  /** @type {[Until | undefined, boolean][]} */
  const cases = [
    [undefined, true], ['working', true], ['sent', false], [['sent', 'working'], true], ['filled', false], ['done', false],
    [({ filled }) => (filled ?? 0) >= 40, true], [({ filled }) => (filled ?? 0) > 40, false],
  ];
  for (const [until, reached] of cases) assert.equal(working.reached(condition(until)), reached, String(until));
  const over = knownOf(about('done', { reason: 'rejected' }));
  for (const [until] of cases) assert.equal(over.reached(condition(until)), true, String(until));
  for (const state of STATES) {
    assert.equal(settled(knownOf(about(state))), !['queued', 'sent', 'modifying', 'cancelling'].includes(state), state);
  }
  assert.throws(() => condition(/** @type {any} */ ('workin')), /no order is ever 'workin'.*working/);
  for (const word of [...STATES, ...REASONS]) condition(word);
});

test('an older state changes nothing, whichever way it comes', () => {
  const known = knownOf(about('working', { changes: 4 }), about('sent', { changes: 3 }));
  assert.equal(known.state.state, 'working');
  known.note(about('unknown', { changes: 3, epoch: 2 })); // another epoch begins where its journal ends
  assert.equal(known.state.state, 'unknown');
  known.note(about('acked', { changes: 9 })); // a late replay
  assert.equal(known.state.state, 'unknown');
  known.suppose({ state: 'queued' });
  assert.equal(known.state.state, 'unknown');
  known.renew(); // another store: its epochs may be any numbers
  known.note(about('done', { reason: 'filled' }));
  assert.equal(known.state.reason, 'filled');
});

test('after a change only its states count', () => {
  const known = knownOf(about('working', { rev: 3 }));
  const { rev, again } = known.revision({ lmtPrice: 2 });
  assert.deepEqual([rev, again], [4, false]);
  known.expectChange(rev);
  assert.equal(settled(known), false);
  known.note(about('modifying', { rev: 4, changes: 2 }));
  assert.equal(settled(known), false);
  known.note(about('working', { rev: 4, changes: 3 }));
  assert.equal(settled(known), true);
});

test('a change of unknown outcome has the same number again', () => {
  const known = knownOf(about('working'));
  assert.deepEqual(known.revision({ lmtPrice: 2 }), { rev: 1, again: false });
  assert.deepEqual(known.revision({ lmtPrice: 2 }), { rev: 1, again: true });
  assert.deepEqual(known.revision({ lmtPrice: 3 }), { rev: 2, again: false });
  known.attempted(7);
  assert.deepEqual(known.revision({ lmtPrice: 3 }), { rev: 8, again: false });
});

test('after a cancel only its states count, until it is refused', () => {
  const known = knownOf(about('working'));
  known.expectCancel();
  known.note(about('working', { changes: 2 }));
  assert.equal(settled(known), false);
  known.giveUp();
  assert.equal(settled(known), true);
  known.expectCancel();
  known.note(about('cancelling', { changes: 3 }));
  assert.equal(known.reached(condition('cancelling')), true);
  known.note(about('done', { reason: 'cancelled', changes: 4 }));
  known.expectCancel();
  known.expectChange(9);
  assert.equal(settled(known), true);
});

test('a new error, and an unknown outcome, end the wait for a change; an old error does not', () => {
  const lastError = { code: 504, text: 'change it again', ts: 1, own: true };
  const known = knownOf(about('working', { lastError }));
  known.expectChange(1);
  known.note(about('working', { lastError: { ...lastError }, changes: 2 }));
  assert.equal(settled(known), false);
  known.note(about('working', { lastError: { ...lastError, ts: 2 }, changes: 3 }));
  assert.equal(settled(known), true);
  known.expectChange(1);
  known.note(about('unknown', { changes: 4, lastError: { ...lastError, ts: 2 } }));
  assert.equal(settled(known), true);
});

test('what is known of an order is kept while somebody holds it or waits for it', { timeout: 20_000 }, async () => {
  setFlagsFromString('--expose-gc');
  const collect = async () => {
    await new Promise(setImmediate); // a reference lives until the end of its turn
    runInNewContext('gc')();
  };
  const orders = new KnownOrders();
  const keys = () => orders.all().map(({ key }) => key);
  /** @type {any[]} */
  const held = [orders.track('held'), orders.track('waited').watch(() => {})];
  orders.track('forgotten');
  while (keys().includes('forgotten')) await collect();
  assert.deepEqual(keys(), ['held', 'waited']);
  assert.equal(orders.track('held'), held[0]);
  held.pop()(); // the wait ends
  while (keys().includes('waited')) await collect();
  held.pop();
  while (keys().length) await collect();
  assert.equal(orders.get('held'), undefined);
});
