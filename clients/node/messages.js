/** Messages of the bus as the client gets them, and what the client tells the application. */

import { decode } from '@msgpack/msgpack';

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
 *   state?: string, rev?: number, role?: string, rule?: string, limit?: number | any[], value?: number | null, decision?: string,
 *   scope?: string, name?: string, kind?: string, most?: number, holders?: Record<string, number>}} Fault
 * Error of a reply. `E_PERM` has `role`. `E_RISK` has `rule`, `scope`, `limit`, `value` and `decision`. `E_HALTED` has
 * `scope`, `name` and `state`. `E_LINES` has `kind`, `most` and `holders`: the clients that have the lines, with the number of
 * each. docs/protocol.md says what they mean.
 * @typedef {{id: any, ok: boolean, epoch: number, gen: number, dup?: boolean, result?: any, error?: Fault}} Reply
 * @typedef {{cmd: 'snapshot' | 'replay', args: Record<string, any>, answered: (reply: Reply) => void}} Request
 * @typedef {{stream: string, seq: number, messages: [string | Uint8Array, Uint8Array][], offset?: number}} State
 * @typedef {{streams: State[], next: string | null, offset?: number}} Page
 */

/** @param {Message} message */
export function isSynthetic({ body }) {
  return Boolean(body.flags?.includes('synthetic'));
}

/** @param {Message} message */
export function seq({ body }) {
  return /** @type {number} */ (body.seq);
}

/**
 * @param {[string | Uint8Array, Uint8Array]} frames
 * @returns {Message}
 */
export function opened([topic, body]) {
  return {
    topic: typeof topic === 'string' ? topic : new TextDecoder().decode(topic),
    body: /** @type {Body} */ (decode(body)),
  };
}

/**
 * @param {Message} message
 * @returns {Message}
 */
export function replayed({ topic, body }) {
  return { topic, body: { ...body, flags: [...(body.flags ?? []), 'replayed'] } };
}

/**
 * Returns the messages of a state in the order of their sequence numbers. Rows with the same number keep their order.
 * @param {State} state
 */
export function inOrder({ messages }) {
  return messages.map(opened).sort((one, other) => seq(one) - seq(other));
}
