import { availableParallelism } from 'node:os'

/** @type {[string, object]} */
const swc = ['@swc/jest', { jsc: { target: 'es2023', parser: { syntax: 'typescript' } } }]

/** @type {import('jest').Config} */
export default {
  testMatch: ['<rootDir>/test/{unit,database,http,package}/**/*.test.ts'],
  // jose comes as ES modules only, which Jest's CommonJS cannot load as they are.
  transform: { '^.+\\.ts$': swc, '/node_modules/jose/.+\\.js$': swc },
  transformIgnorePatterns: ['/node_modules/(?!jose/)'],
  modulePathIgnorePatterns: ['<rootDir>/\\.'],
  globalSetup: '<rootDir>/test/support/globalSetup.ts',
  globalTeardown: '<rootDir>/test/support/globalTeardown.ts',
  setupFiles: ['<rootDir>/test/support/settings.ts'],
  setupFilesAfterEnv: ['<rootDir>/test/support/endProcesses.ts'],
  reporters: ['default', '<rootDir>/test/support/SlowestFiles.mjs'],
  testSequencer: '<rootDir>/test/support/LongestFirst.mjs',
  // Several files wait for a clock or another process: with one worker per core, cores would idle.
  maxWorkers: availableParallelism() + 1,
  // Among them the wait for what is shared (test/support/shared.ts), which three at once may start.
  testTimeout: 120_000,
  // What is deployed; only `npm run test:coverage` measures, and what runs in other processes does not count.
  collectCoverageFrom: ['{account,admin,api,auth,lib,mail,throttle,user}/**/*.ts', 'db.ts'],
  coverageThreshold: { global: { statements: 97, branches: 93, functions: 97, lines: 98 } },
}
