// A server of npm `graphql-ws` (the subprotocol graphql-transport-ws).

import http from 'node:http';
import { useServer } from 'graphql-ws/use/ws';
import { WebSocketServer } from 'ws';
import { commands, root, schema } from './graphql_common.mjs';
import { TOKEN, main, tell } from './support.mjs';

await main({
  async serve() {
    const server = http.createServer();
    const sockets = new WebSocketServer({ server, path: '/graphql' });
    useServer(
      {
        schema,
        roots: { query: root, mutation: root, subscription: root },
        connectionInitWaitTimeout: 2_000,
        onConnect: ({ connectionParams }) => {
          const good = connectionParams?.authorization === `Bearer ${TOKEN}`;
          if (good) tell('in', 'graphql');
          return good;
        },
        onComplete: (_, id) => tell('completed', id),
        onClose: (_, code) => tell('closed', code),
      },
      sockets,
      // A ping of the WebSocket after so long.
      200,
    );
    return { server, commands };
  },
});
