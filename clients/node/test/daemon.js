/** Simulated TWS and daemons for the tests, each in its own process, which always ends with the test. */

import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const IBBRIDGE = process.env.IBBRIDGE ?? fileURLToPath(new URL('../../../.venv/bin/ibbridge', import.meta.url));

/** @type {Set<import('node:child_process').ChildProcess>} */
const running = new Set();
/** @type {Set<string>} */
const directories = new Set();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

/** Returns a new directory that is removed when the tests end. */
export function temporary() {
  const directory = mkdtempSync(join(tmpdir(), 'ibbridge-node-'));
  directories.add(directory);
  return directory;
}

/** Process, with the lines of its output. */
export class Process {
  /** @type {string[]} */
  lines = [];
  /** @type {Set<() => void>} */
  #waiting = new Set();

  /**
   * @param {string} command
   * @param {string[]} args
   * @param {string} [cwd]  Where it runs, if not here.
   */
  constructor(command, args, cwd) {
    this.child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(this.child);
    /** @type {Promise<number | string | null>} */
    this.ended = new Promise((resolve) => {
      this.child.once('close', (code, signal) => {
        running.delete(this.child);
        resolve(code ?? signal);
      });
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        this.lines.push(line);
        for (const look of this.#waiting) look();
      });
    }
  }

  /**
   * Waits for the first line that matches, among past and future output. Throws all lines if the process ends without it.
   * @param {RegExp} pattern
   * @returns {Promise<RegExpMatchArray>}
   */
  said(pattern) {
    return new Promise((resolve, reject) => {
      const look = () => {
        const found = this.lines.map((line) => line.match(pattern)).find(Boolean);
        if (!found) return;
        this.#waiting.delete(look);
        resolve(found);
      };
      this.#waiting.add(look);
      this.ended.then((code) => reject(new Error(`ended (${code}) without ${pattern}:\n${this.lines.join('\n')}`)));
      look();
    });
  }

  /** @param {NodeJS.Signals} signal */
  async end(signal = 'SIGTERM') {
    this.child.kill(signal);
    return this.ended;
  }
}

export class Simulator {
  /** @type {string} */
  port = '';

  control = `ipc://${temporary()}/control`;

  static async start() {
    const simulator = new Simulator();
    simulator.process = new Process(IBBRIDGE, ['sim', '--port', '0', '--seed', '7', '--control', simulator.control]);
    simulator.port = (await simulator.process.said(/listens on [^:]*:(\d+)/))[1];
    return simulator;
  }

  /** Returns what the simulator has counted. */
  figures() {
    return JSON.parse(execFileSync(IBBRIDGE, ['fault', this.control, 'do=figures'], { encoding: 'utf8' })).figures;
  }

  /** @type {Process | undefined} */
  process;
}

/** Daemon in its own directory, which can be killed and started again there. */
export class Daemon {
  /**
   * @param {Simulator} simulator
   * @param {number} clientId
   * @param {Record<string, string | number>} settings
   */
  constructor(simulator, clientId, settings = {}) {
    this.directory = temporary();
    this.pub = `ipc://${this.directory}/pub`;
    this.rep = `ipc://${this.directory}/rep`;
    const all = {
      'tws.port': simulator.port,
      'tws.client_id': clientId,
      'tws.reconnect_min': 0.1,
      'bus.pub': this.pub,
      'bus.rep': this.rep,
      'bus.heartbeat': 0.2,
      'store.path': join(this.directory, 'store'),
      ...settings,
    };
    this.args = ['run', ...Object.entries(all).flatMap(([key, value]) => ['--set', `${key}=${value}`])];
  }

  /** Ends the daemon for good: a test that still runs must not start another, which would keep the tests from ending. */
  over = false;

  async start() {
    if (this.over) throw new Error('the test is over');
    this.process = new Process(IBBRIDGE, this.args);
    await this.process.said(/TWS at .* ready/);
    return this;
  }

  /** @param {NodeJS.Signals} signal */
  signal(signal) {
    this.process?.child.kill(signal);
  }

  async kill() {
    await this.process?.end('SIGKILL');
  }

  async end() {
    this.over = true;
    await this.kill();
  }
}
