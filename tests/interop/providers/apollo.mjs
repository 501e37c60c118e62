// A server of npm `subscriptions-transport-ws` (the subprotocol graphql-ws).

import http from 'node:http';
import { execute, subscribe } from 'graphql';
import { SubscriptionServer } from 'subscriptions-transport-ws';
import { commands, root, schema } from './graphql_common.mjs';
import { TOKEN, main, tell } from './support.mjs';

await main({
  async serve() {
    const server = http.createServer();
    SubscriptionServer.create(
      {
        schema,
        rootValue: root,
        execute,
        subscribe,
        keepAlive: 200,
        onConnect: ({ authToken }) => {
          if (authToken !== TOKEN) throw new Error('wrong token');
          tell('in', 'apollo');
        },
        onOperationComplete: (_, id) => tell('completed', id),
        onDisconnect: () => tell('left'),
      },
      { server, path: '/graphql' },
    );
    return { server, commands };
  },
});
