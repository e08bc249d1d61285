/** Wall-clock statistics, which need a machine that does nothing else: `npm run test:timing`. */
import config from './jest.config.mjs'

/** @type {import('jest').Config} */
export default { ...config, testMatch: ['<rootDir>/test/timing/**/*.test.ts'], maxWorkers: 1 }
