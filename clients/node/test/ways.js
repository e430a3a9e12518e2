/** Ways between client and daemon that lose what a test says. */

import { decode } from '@msgpack/msgpack';
import * as zmq from 'zeromq';

/** @typedef {import('./daemon.js').Daemon} Daemon */

/**
 * Starts a proxy between client and daemon that loses, empties or keeps each reply as `loses` says.
 * @param {import('node:test').TestContext} t
 * @param {Daemon} daemon
 * @param {(command: any) => Promise<'lost' | 'emptied' | 'kept'>} loses  Asked with the command when its reply has come.
 */
export async function lossyWay(t, daemon, loses) {
  const front = new zmq.Router({ linger: 0 });
  const rep = `ipc://${daemon.directory}/lossy`;
  await front.bind(rep);
  /** @type {zmq.Request | undefined} */
  let back;
  t.after(() => {
    front.close();
    back?.close(); // a socket that waits for a dead daemon would keep the test from ending
  });
  const way = async () => {
    for await (const frames of front) {
      const frame = frames[frames.length - 1];
      back = new zmq.Request({ linger: 0 });
      back.connect(daemon.rep);
      await back.send(frame);
      const [reply] = await back.receive();
      back.close();
      const fate = await loses(decode(frame));
      if (fate !== 'lost') await front.send([...frames.slice(0, -1), fate === 'emptied' ? new Uint8Array() : reply]);
    }
  };
  way().catch((error) => { if (!front.closed) throw error; });
  return { rep };
}

/**
 * Starts a proxy between subscribers and daemon that loses each message of which `loses` says so.
 * @param {import('node:test').TestContext} t
 * @param {Daemon} daemon
 * @param {(topic: string, body: any) => boolean} loses
 */
export async function lossyFeed(t, daemon, loses) {
  const front = new zmq.XPublisher({ verbosity: 'allSubs', linger: 0 });
  const back = new zmq.XSubscriber({ linger: 0, receiveHighWaterMark: 0 });
  t.after(() => {
    front.close();
    back.close();
  });
  const pub = `ipc://${daemon.directory}/lossy-pub`;
  await front.bind(pub);
  back.connect(daemon.pub);
  const subscriptions = async () => {
    for await (const [frame] of front) await back.send(frame);
  };
  const messages = async () => {
    for await (const [topic, body] of back) {
      if (!loses(topic.toString(), decode(body))) await front.send([topic, body]);
    }
  };
  for (const way of [subscriptions(), messages()]) way.catch((error) => { if (!front.closed) throw error; });
  return { pub };
}
