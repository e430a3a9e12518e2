/** Errors of the client. Each text says what to do. */

/** @typedef {import('./messages.js').Fault} Fault */

/** Command that the daemon refused. `code` is the protocol's; `outcome` says whether anything can have reached TWS. */
export class Refused extends Error {
  /**
   * @param {string} cmd
   * @param {Fault} fault
   */
  constructor(cmd, fault) {
    const unsaid = (fault.faults ?? []).filter((each) => !fault.message.includes(each));
    super(`${cmd}: ${fault.code}: ${[fault.message, ...unsaid].join('; ')}`);
    this.code = fault.code;
    this.outcome = fault.outcome;
    this.fault = fault;
  }
}

/**
 * Reply, response or state that did not come in time. `outcome` is `not_sent` if the command never left this process.
 * Otherwise it is `unknown`: the daemon may or may not have executed the command. `key` is that of the order.
 */
export class Unanswered extends Error {
  /**
   * @param {string} text
   * @param {'not_sent' | 'unknown'} outcome
   * @param {string} [key]
   */
  constructor(text, outcome = 'unknown', key = undefined) {
    super(text);
    this.outcome = outcome;
    this.key = key;
  }
}

/**
 * Keys that cannot be used, or a daemon that does not admit this program. `outcome` is `unknown` if a command was under way
 * that the daemon may have executed, and `not_sent` otherwise.
 */
export class AuthError extends Error {
  /** @type {'not_sent' | 'unknown'} */
  outcome = 'not_sent';
}

/** Use of a client that this program has closed, or closes meanwhile. `outcome` is as in `Unanswered`. */
export class Closed extends Error {
  /**
   * @param {string} text
   * @param {'not_sent' | 'unknown'} outcome
   */
  constructor(text = 'this client is closed', outcome = 'not_sent') {
    super(text);
    this.outcome = outcome;
  }
}

/** Error with which TWS, or the daemon in its place, ended a request. `code` is IB's, and `data` the whole message. */
export class TwsError extends Error {
  /**
   * @param {string} cmd
   * @param {Record<string, any>} data
   */
  constructor(cmd, data) {
    super(`${cmd}: ${data.errorCode}: ${data.errorString}`);
    this.code = data.errorCode;
    this.data = data;
  }
}

/** Subscription to `prefix` that the daemon does not allow to the `role` of this connection. The feed ends with it. */
export class SubscriptionRefused extends Error {
  /**
   * @param {string} prefix
   * @param {string} role
   * @param {string} fault
   */
  constructor(prefix, role, fault) {
    super(fault);
    this.prefix = prefix;
    this.role = role;
  }
}
