// What both GraphQL servers serve.

import { EventEmitter, on } from 'node:events';
import { buildSchema } from 'graphql';
import { news, tell } from './support.mjs';

export const schema = buildSchema(`
  type Query { add(a: Int!, b: Int!): Int!, fail: Int }
  type Mutation { say(text: String!): String! }
  type News { text: String! }
  type Subscription { news: News!, three: Int!, never: Int! }
`);

const bus = new EventEmitter();

/** No generator: one that waits for an event cannot be ended from outside. */
function each(event, name) {
  tell('subscribed', name);
  const events = on(bus, event);
  const step = ({ value, done }) => ({ value: done ? undefined : { [name]: value[0] }, done });
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    next: async () => step(await events.next()),
    return: async () => step(await events.return()),
    throw: async (error) => events.throw(error),
  };
}

async function* three() {
  for (const three of [1, 2, 3]) yield { three };
}

/** By both ways in which the libraries look for it. */
export const root = {
  add: ({ a, b }) => a + b,
  fail: () => {
    throw new Error('it failed');
  },
  say: ({ text }) => {
    tell('said', text);
    return text;
  },
  news: () => each('news', 'news'),
  never: () => {
    throw new Error('not for you');
  },
  three,
};

export const commands = { push: (text) => bus.emit('news', news(text)) };
