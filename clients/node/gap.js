/** Gaps in streams: the command that fills a gap, and what its reply brings. */

import { inOrder, isSynthetic, opened, replayed, seq } from './messages.js';
import { Pages, snapshot } from './pages.js';

/**
 * @typedef {import('./messages.js').Message} Message
 * @typedef {import('./messages.js').Page} Page
 * @typedef {import('./messages.js').Reply} Reply
 * @typedef {import('./messages.js').Request} Request
 * @typedef {import('./stream.js').Stream} Stream
 */

/**
 * Returns the command that fills the first gap of a stream, or a part of it.
 * @param {Stream} stream
 * @returns {Request}
 */
export function gapRequest(stream) {
  const { gone, name, gapEnd: to } = stream;
  if (gone) return snapshot(name, gone.pages, (page) => remains(stream, gone, page));
  if (stream.resuming) {
    const args = { stream: name, from: stream.last, to: Math.max(stream.last, to) };
    return { cmd: 'replay', args, answered: (reply) => resumed(stream, args.to, reply) };
  }
  const from = stream.last + 1;
  return { cmd: 'replay', args: { stream: name, from, to }, answered: (reply) => filled(stream, to, reply) };
}

/**
 * Processes the replay of the last applied message and of those after it, from a daemon that was restarted.
 * @param {Stream} stream
 * @param {number} to
 * @param {Reply} reply
 */
function resumed(stream, to, reply) {
  const { last, seen } = stream;
  stream.resuming = false;
  /** @type {Message[]} */
  const messages = reply.ok ? reply.result.messages.map(opened) : [];
  if (messages.some((each) => seq(each) === last && each.body.epoch > seen)) {
    stream.renew();
    stream.prefix.begin();
    return;
  }
  stream.seen = 0;
  // The daemon no longer keeps the message applied before the restart, but keeps all later ones.
  if (reply.error?.code === 'E_GAP_TOO_OLD' && (reply.error.first ?? 0) <= last + 1) return stream.settle();
  filled(stream, to, reply);
}

/**
 * Processes the replay of a gap.
 * @param {Stream} stream
 * @param {number} to
 * @param {Reply} reply
 */
function filled(stream, to, { ok, result, error }) {
  if (!ok && error?.code === 'E_GAP_TOO_OLD' && error.first !== undefined && error.first > stream.last + 1) {
    stream.gone = { first: error.first, pages: new Pages(), state: null };
    return;
  }
  if (!ok) {
    stream.lose(to, error?.code ?? 'E_PROTO');
  } else {
    for (const message of result.messages.map(opened)) {
      if (seq(message) <= stream.last) continue; // the message has arrived by itself meanwhile
      stream.lose(seq(message) - 1, 'missing');
      stream.apply(replayed(message));
    }
    const more = (result.next ?? null) !== null && result.messages.length > 0;
    if (!more) stream.lose(to, 'missing');
  }
  stream.settle();
}

/**
 * Processes a page of the state that replaces messages which the daemon no longer keeps.
 * @param {Stream} stream
 * @param {NonNullable<Stream['gone']>} gone
 * @param {Page} page
 */
function remains(stream, gone, page) {
  if (stream.gone !== gone) return; // the stream has ended meanwhile
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
  stream.lose(end, 'E_GAP_TOO_OLD', state.filter((message) =>
    !synthetic.includes(message) && seq(message) > last && seq(message) <= end));
  stream.settle();
}
