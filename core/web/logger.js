// `require('smartsocket-client/logger').setLevel('debug')`

import SmartSocketClient from './smartsocket.js';

const { logger } = SmartSocketClient;

export default logger;
export const setLevel = (level) => logger.setLevel(level);
