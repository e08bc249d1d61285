/**
 * The lint rules that hold the import direction (ARCHITECTURE.md), shown to fire.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

const violations = [
  { file: 'lib/A.ts', from: '../auth/Permissions.ts' },
  { file: 'lib/B.ts', from: 'mongoose' },
  { file: 'db.ts', from: './auth/Permissions.ts' },
  { file: 'db.ts', from: './user/User.ts' },
  { file: 'db.ts', from: './dev/Mongod.ts' },
  { file: 'user/User.ts', from: './UserHandler.ts' },
  { file: 'user/User.ts', from: '../auth/Tokens.ts' },
  { file: 'user/User.ts', from: '../db.ts' },
  { file: 'user/UserModel.ts', from: '../auth/Throttle.ts' },
  { file: 'user/User.ts', from: '../account/Account.ts' },
  { file: 'user/UserHandler.ts', from: '../auth/AuthHandler.ts' },
  { file: 'auth/Tokens.ts', from: '../db' },
  { file: 'auth/Tokens.ts', from: '../user/User.ts' },
  { file: 'auth/Permissions.ts', from: 'mongoose/lib/index.js' },
  { file: 'auth/VerifyToken.ts', from: './Sessions.ts' },
  { file: 'auth/RevocationFeed.ts', from: './Revocations.ts' },
  { file: 'auth/RevocationFeed.ts', from: '../db.ts' },
  { file: 'auth/SessionAnswer.ts', from: '../db.ts' },
  { file: 'auth/SessionHandler.ts', from: './AuthHandler.ts' },
  { file: 'auth/Passwords.ts', from: '../db.ts' },
  { file: 'auth/AuthHandler.ts', from: './VerifyToken.ts' },
  { file: 'auth/AuthHandler.ts', from: '../dev/Secrets.ts' },
  { file: 'auth/AuthHandler.ts', from: '../test/support/events.ts' },
  { file: 'auth/VerifyToken.ts', from: '../account/SecondFactor.ts' },
  { file: 'auth/VerifyToken.ts', from: './Throttle.ts' },
  { file: 'throttle/Counters.ts', from: '../db.ts' },
  { file: 'user/Account.ts', from: '../db.ts' },
  { file: 'user/SecondFactor.ts', from: './MfaHandler.ts' },
  { file: 'account/AccountHandler.ts', from: './MailHandler.ts' },
  { file: 'account/Confirmation.ts', from: '../dev/Secrets.ts' },
  { file: 'plugin/Secrets.ts', from: '../auth/AuthHandler.ts' },
  { file: 'examples/express-service/Service.js', from: '../../auth/Tokens.ts' },
]

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'auth-lint-'))
  copyFileSync('.oxlintrc.json', join(folder, '.oxlintrc.json'))
})
afterAll(() => rmSync(folder, { recursive: true }))

test.each(violations)('$file must not import $from', ({ file, from }) => {
  const path = join(folder, file)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, `import { thing } from '${from}'\n\nexport const other = thing\n`)
  const { stdout } = spawnSync(join(process.cwd(), 'node_modules', '.bin', 'oxlint'), [file], {
    cwd: folder,
    encoding: 'utf8',
  })
  expect(stdout).toContain('no-restricted-imports')
})

test('a cycle is refused', () => {
  for (const [file, from] of [
    ['one', 'two'],
    ['two', 'one'],
  ]) {
    writeFileSync(
      join(folder, `${file}.ts`),
      `import { ${from} } from './${from}.ts'\n\nexport const ${file} = () => ${from}\n`,
    )
  }
  const { stdout } = spawnSync(join(process.cwd(), 'node_modules', '.bin', 'oxlint'), ['one.ts', 'two.ts'], {
    cwd: folder,
    encoding: 'utf8',
  })
  expect(stdout).toContain('no-cycle')
})
