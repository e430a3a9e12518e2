#!/usr/bin/env node
/**
 * Places a limit order and follows it until it is done; Ctrl-C cancels it.
 *
 * The key makes a repetition safe: run again with the same key and order, the script places no second order, and follows
 * the first one. Until the daemon is restarted, the daemon itself recognizes the key. After a restart, the script finds
 * the order in the daemon's durable stream. Exit code 0: filled; 1: cancelled, refused, or not known.
 */

import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';

import { decode } from '@msgpack/msgpack';

import { Commands, Feed, Refused } from './client.js';

/** @typedef {import('./follow.js').Body} Body */

const USAGE = `usage: node order.js [options] BUY|SELL QUANTITY SYMBOL LIMIT
  --client NAME    the client's name (default: node)
  --key KEY        the order's key (default: a new one each time)
  --secType STK --exchange SMART --currency USD --account ACCOUNT
  --pub ENDPOINT --rep ENDPOINT    the daemon's bus.pub and bus.rep
  --root PREFIX    the daemon's bus.prefix and a dot, if the prefix is set`;

const OVER = new Set(['Filled', 'Cancelled', 'ApiCancelled', 'Inactive']);

/** State of one order. Its messages may come in any sequence, and more than once. */
class Order {
  /** Terms of the order as TWS reports them. */
  terms = '';
  status = '';
  filled = 0;
  over = false;
  /** @type {Map<string, number>} */
  fills = new Map();

  /** @param {string} key */
  constructor(key) {
    this.key = key;
  }

  /** True once the order is in a final state and all of its fills have come. */
  get done() {
    return this.over && [...this.fills.values()].reduce((sum, shares) => sum + shares, 0) >= this.filled;
  }

  /**
   * @param {Body} body
   * @returns {string | null} a line to print, or null if the message has no news
   */
  hears({ type, ref, data }) {
    if (ref?.key !== this.key) return null;
    if (type === 'openOrder') this.terms = terms(data);
    if (type === 'orderStatus') {
      this.over ||= OVER.has(data.status);
      this.filled = Math.max(this.filled, data.filled ?? 0);
      const now = `${data.status}, ${data.filled} filled, ${data.remaining} to go`;
      if (now === this.status) return null;
      this.status = now;
      return `order   ${this.key}: ${now}`;
    }
    if (type === 'execDetails') {
      const { execId, shares, side, price } = data.execution;
      if (this.fills.has(execId)) return null;
      this.fills.set(execId, shares);
      return `fill    ${this.key}: ${side} ${shares} at ${price}`;
    }
    if (type === 'error') {
      this.over ||= data.ends === true;
      return `error   ${this.key}: ${data.errorCode} ${data.errorString}`;
    }
    return null;
  }
}

/**
 * Returns an order in words.
 * @param {{contract: any, order: any}} what
 */
function terms({ contract, order: { action, totalQuantity, orderType, lmtPrice } }) {
  return `${action} ${Number(totalQuantity)} ${contract.symbol} ${orderType} ${lmtPrice}`;
}

/**
 * Returns a text as a component of a topic, with other characters percent-encoded.
 * @param {string} text
 */
function component(text) {
  return text.replace(/[^A-Za-z0-9_\-+@~/]/gu, (char) =>
    [...new TextEncoder().encode(char)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''));
}

/**
 * Yields the messages of a durable stream, from the oldest that the daemon keeps.
 * @param {Commands} commands
 * @param {string} stream
 * @returns {AsyncGenerator<Body>}
 */
async function* past(commands, stream) {
  for (let from = 1; from !== null;) {
    try {
      const { result } = await commands.call('replay', { stream, from });
      for (const [, body] of result.messages) yield /** @type {Body} */ (decode(body));
      from = result.next;
    } catch (error) {
      if (!(error instanceof Refused) || error.code !== 'E_GAP_TOO_OLD' || !error.fault.first) throw error;
      from = error.fault.first;
    }
  }
}

/** @param {string[]} argv */
function arguments_(argv) {
  const { values, positionals } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: {
      pub: { type: 'string', default: 'tcp://127.0.0.1:5555' },
      rep: { type: 'string', default: 'tcp://127.0.0.1:5556' },
      root: { type: 'string', default: '' },
      client: { type: 'string', default: 'node' },
      key: { type: 'string', default: `node-${randomUUID().slice(0, 8)}` },
      secType: { type: 'string', default: 'STK' },
      exchange: { type: 'string', default: 'SMART' },
      currency: { type: 'string', default: 'USD' },
      account: { type: 'string' },
    },
  });
  const [action, totalQuantity, symbol, limit] = positionals;
  const lmtPrice = Number(limit);
  if (positionals.length !== 4 || !['BUY', 'SELL'].includes(action) || !(Number(totalQuantity) > 0) || Number.isNaN(lmtPrice)) {
    console.error(USAGE);
    process.exit(2);
  }
  const { secType, exchange, currency, account } = values;
  const contract = { symbol, secType, exchange, currency };
  const order = { action, totalQuantity, orderType: 'LMT', lmtPrice, ...(account ? { account } : {}) };
  return { ...values, contract, order };
}

const { pub, rep, root, client, key, contract, order: wanted } = arguments_(process.argv.slice(2));
const streams = ['ord', 'exec'].map((kind) => `${root}${kind}.${component(client)}.`);
const feed = new Feed({ pub, rep, prefixes: streams, root });
const commands = new Commands(rep, client);
const order = new Order(key);

/** @param {Body} body */
function hear(body) {
  const news = order.hears(body);
  if (news) console.log(news);
}

async function place() {
  const what = terms({ contract, order: wanted });
  let known = order.terms !== '' || order.status !== '';
  if (known && order.terms !== what) throw new Error(`'${key}' is the key of another order: ${order.terms}`);
  // Do not place a known order again: after a restart the daemon does not know its key any more.
  known ||= (await commands.call('placeOrder', { contract, order: wanted }, { key })).dup === true;
  console.log(`${known ? 'known  ' : 'placed '} ${key}: ${what}`);
  // The snapshot has the order, but not its fills.
  if (known) for await (const body of past(commands, streams[1])) hear(body);
  placed = true;
  if (order.done) feed.close();
}

async function cancel() {
  await commands.call('cancelOrder', { key });
  console.log(`cancel  ${key}`);
}

/** @param {unknown} error */
function fail(error) {
  console.error(error instanceof Error ? error.message : error);
  feed.close();
}

let placing = false;
let placed = false;
process.on('SIGINT', () => (placing ? cancel().catch(fail) : feed.close()));

const behind = new Set(streams);
for await (const event of feed) {
  if (event.event === 'message') hear(event.body);
  else if (event.event !== 'ready') console.error(JSON.stringify(event));
  else if (behind.delete(event.prefix) && !behind.size && !placing) {
    placing = true; // from here on no message of the order is missed
    place().catch(fail);
  }
  if (placed && order.done) break;
}
feed.close();
commands.close();
process.exitCode = placed && order.done && order.status.startsWith('Filled') ? 0 : 1;
