#!/usr/bin/env node
/**
 * Prints what is published under some prefixes, as JSON lines, and what becomes of the connection on standard error.
 */

import { parseArgs } from 'node:util';

import { Feed } from './client.js';

const { values, positionals: prefixes } = parseArgs({
  allowPositionals: true,
  options: {
    pub: { type: 'string', default: 'tcp://127.0.0.1:5555' },
    rep: { type: 'string', default: 'tcp://127.0.0.1:5556' },
    root: { type: 'string', default: '' },
  },
});
if (!prefixes.length) {
  console.error(`usage: node subscribe.js [options] PREFIX ...    such as md. ord.me.
  --pub ENDPOINT --rep ENDPOINT    the daemon's bus.pub and bus.rep
  --root PREFIX    its bus.prefix and a dot, if it has one; all prefixes begin with it`);
  process.exit(2);
}

const feed = new Feed({ pub: values.pub, rep: values.rep, prefixes, root: values.root });
process.once('SIGINT', () => feed.close());
process.once('SIGTERM', () => feed.close());

for await (const event of feed) {
  if (event.event === 'message') {
    console.log(JSON.stringify({ topic: event.topic, ...event.body }, readable));
  } else {
    console.error(JSON.stringify(event));
  }
}

/**
 * JSON has no bytes, and no infinity.
 * @this {any}
 * @param {string} key
 * @param {any} value
 */
function readable(key, value) {
  const raw = this[key]; // before a toJSON
  if (raw instanceof Uint8Array) return Buffer.from(raw).toString('base64');
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
}
