#!/usr/bin/env node
/**
 * Prints the messages under some prefixes as JSON lines, and events of the connection on standard error.
 */

import { parseArgs } from 'node:util';

import { Feed, loadKeys, nearest } from './client.js';

const keys = loadKeys();

const { values, positionals: prefixes } = parseArgs({
  allowPositionals: true,
  options: {
    pub: { type: 'string', default: nearest('pub', keys) },
    rep: { type: 'string', default: nearest('rep', keys) },
    root: { type: 'string', default: '' },
  },
});
if (!prefixes.length) {
  console.error(`usage: node subscribe.js [options] PREFIX ...    such as md. ord.me.
  --pub ENDPOINT --rep ENDPOINT    the daemon's bus.pub and bus.rep
  --root PREFIX    the daemon's bus.prefix and a dot, if the prefix is set; all prefixes begin with this`);
  process.exit(2);
}

const feed = new Feed({ pub: values.pub, rep: values.rep, prefixes, root: values.root, keys });
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
 * Replaces values that JSON does not have: bytes by base64, infinity and NaN by text.
 * @this {any}
 * @param {string} key
 * @param {any} value
 */
function readable(key, value) {
  const raw = this[key]; // before a toJSON
  if (raw instanceof Uint8Array) return Buffer.from(raw).toString('base64');
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
}
