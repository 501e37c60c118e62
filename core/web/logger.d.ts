import type { Logger } from './smartsocket.js';

declare const logger: Logger;
export default logger;
export declare const setLevel: Logger['setLevel'];
