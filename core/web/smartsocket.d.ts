/** Where a client stands. */
export type State = 'disconnected' | 'connecting' | 'connected' | 'reconnecting';

/** What a client can be told; `undefined` is the default of each. */
export interface Options {
  /** The namespace. Default `'/'`, or the path of the URL. */
  namespace?: string;
  /** How the server is told of it: by the URL's path (default), or by the CONNECT message. */
  namespaceBy?: 'path' | 'connect';
  /** `false`: `namespace` is ignored. Default `true`. */
  enableNamespaces?: boolean;
  /** `false`: who asks for an answer gets an error. Default `true`. */
  enableAcknowledgments?: boolean;
  /** `false`: errors are logged, never events. Default `true`. */
  enableErrorHandling?: boolean;
  /**
   * Encrypt, with keys that are exchanged for each connection. Default: whether there is an `encryptionKey`.
   * `'exchange'`: also without one, which keeps out who listens, but not who changes what is sent. Needs https, or localhost.
   */
  enableEncryption?: boolean | 'exchange';
  /** The server's key: 32 bytes in base64 (44 characters) or hex (64). */
  encryptionKey?: string;
  /** Offer only this one. Default both; the server chooses. */
  encryptionAlgorithm?: 'aes-256-cbc' | 'aes-256-gcm';
  /** Said in the CONNECT message, never in the URL. */
  apiKey?: string;
  /** Milliseconds before the first try to reconnect, 1.5 times that before the next and so on, 30 s at most. Default 1,000. */
  reconnectDelay?: number;
  /** How much of that delay is left to chance, so that not all clients come at once: 0 (none) to 1 (all). Default 0.5. */
  reconnectJitter?: number;
  /** Tries before the client rests. Default 10; 0 for none, `Infinity` for no end. */
  maxReconnectAttempts?: number;
  /** Milliseconds to wait for an answer. Default 30,000. */
  ackTimeout?: number;
  /** How answers are asked for: `'_ackId'` for servers of the older generation. Default `'__ackId'`. */
  ackField?: '__ackId' | '_ackId';
  /** Milliseconds until a connection must be ready for events. Default 30,000. */
  connectionTimeout?: number;
  /** Milliseconds until a server that does not answer CONNECT is taken for an older one; 0 says no CONNECT. Default 2,000. */
  connectAckTimeout?: number;
  /** Milliseconds without a message from a server that sends pings, until it is taken for gone; 0 for ever. Default 90,000. */
  heartbeatTimeout?: number;
  /** Messages kept while there is no connection. Default 1,000. */
  maxQueueMessages?: number;
  /** Their bytes in all. Default 1 MiB. */
  maxQueueBytes?: number;
  /** The longest message that is put together or inflated, in bytes. Default 16 MiB. */
  maxMessage?: number;
  /** Messages longer than this, in bytes, are sent as packets. Default 1,024. */
  compressionThreshold?: number;
  /** Which packets are sent and asked for. Default `'compressed'` where the platform can. */
  binary?: 'none' | 'plain' | 'compressed';
  /** Who makes the sockets, such as `WebSocket` of npm's `ws`. Default the platform's. */
  WebSocket?: new (url: string) => unknown;
}

/** Its `message` begins with its `code`, such as `ERR_CONN_001`. */
export declare class SmartSocketError extends Error {
  constructor(code: string | undefined, message: string, data?: unknown);
  code?: string;
  /** What the server said of it, if it did: `{ code, message, cause, solution }`. */
  data?: any;
}

/** Answers a server that asked; only the first time counts. */
export type Reply = (response?: unknown) => void;

/** Events of the client itself, and those every server may send. All others have the types you give them. */
export interface ClientEvents {
  /** Events go through, now or again. What its listeners send is sent before what waited. */
  connected: () => void;
  /** They went through before. */
  disconnected: (why: { code: number; reason: string; error?: SmartSocketError }) => void;
  /** The connection, a message, or the server, which says so in an event `error`. */
  error: (error: SmartSocketError) => void;
  'state:changed': (state: State, previous: State) => void;
  /** It will be tried again in `delay` milliseconds. */
  'reconnect:attempt': (next: { attempt: number; delay: number }) => void;
  /** It will not: too many tries, or the key or the namespace is wrong. `connect()` begins anew. */
  'reconnect:failed': (last: { attempts: number; error?: SmartSocketError }) => void;
  /** A message that waited for a connection, or had no room to wait, is lost. */
  'message:dropped': (lost: { event: string; data: any; reason: 'queue full' | 'disconnected' }) => void;
  /** The server dropped a message; `retryAfter` is in milliseconds. */
  '__rate-limited__': (notice: { message: string; retryAfter: number; code?: string }) => void;
}

/** What a listener returns, or promises, is the answer if the server asks for one and the listener takes no `reply`. */
export type Listener = (data?: any, reply?: Reply) => unknown;

export interface Logger {
  level: Level;
  /** Shows this level and those before it. Default `'warn'`; `'debug'` if `DEBUG` (in pages `localStorage.debug`) is `smartsocket:*`. */
  setLevel(level: Level): void;
}
export type Level = 'error' | 'warn' | 'info' | 'debug' | 'trace';

export declare class SmartSocketClient {
  static logger: Logger;

  /**
   * A client of a server at `ws:`, `wss:`, `http:` or `https:`; in pages the address may be
   * relative, and is the root of the page's own server by default. Nothing happens until `connect()`.
   *
   * @throws TypeError for an address, a key or an algorithm that is none.
   */
  constructor(url?: string, options?: Options);

  readonly state: State;
  readonly connected: boolean;
  /** The server's name of this connection; of older servers `undefined`. */
  readonly id?: string;
  /** Messages that wait for a connection. */
  readonly queued: number;
  /** Storage for the application. */
  data: Record<string, any>;
  maxReconnectAttempts: number;
  /** Hears whatever the server says before anybody else does, answers (`__ack__`) and errors too. */
  onAny?: (event: string, data?: any) => void;

  /**
   * Resolves when events go through. Rejects when this try fails, after which others follow
   * (`reconnect:attempt`) unless they are pointless. While it waits for its next try, this
   * tries at once: `addEventListener('online', () => client.connect().catch(() => {}))`.
   */
  connect(): Promise<void>;
  /** Ends the connection for good. What waits to be sent is dropped, who waits for an answer gets an error. */
  disconnect(): void;

  on<E extends keyof ClientEvents>(event: E, listener: ClientEvents[E]): this;
  on(event: string, listener: Listener): this;
  once<E extends keyof ClientEvents>(event: E, listener: ClientEvents[E]): this;
  once(event: string, listener: Listener): this;
  /** Forgets one listener of an event, or all. */
  off(event: string, listener?: (...args: any[]) => unknown): this;

  /**
   * Sends an event, or keeps it until there is a connection. `ack` gets the answer, or `null`
   * and an error: nobody answered in `timeout` milliseconds, or the connection broke.
   *
   * @returns `false` if there is no room to wait.
   */
  emit(event: string, data?: any, ack?: (response: any, error?: SmartSocketError) => void, timeout?: number): boolean;
  /** Sends an event; the promise is of the answer. */
  emitWithAck(event: string, data?: any, timeout?: number): Promise<any>;
}
export default SmartSocketClient;
