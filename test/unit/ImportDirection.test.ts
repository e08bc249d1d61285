/**
 * The lint rules that hold the import direction (ARCHITECTURE.md), shown to fire: one run over a folder of violations.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

/** commands -> plugin -> local -> admin -> account -> auth -> mail -> throttle -> user -> db.ts -> api -> lib, and what is beside. */
const violations: { file: string; from: string[] }[] = [
  { file: 'lib/A.ts', from: ['../api/Route.ts', '../auth/Permissions.ts', '../db.ts', 'mongoose'] },
  { file: 'api/Route.ts', from: ['../db.ts', '../user/User.ts', '../auth/Tokens.ts', 'mongoose', 'mongodb'] },
  {
    file: 'db.ts',
    from: ['./user/User.ts', './auth/Permissions.ts', './throttle/Counters.ts', './local/Mongod.ts'],
  },
  {
    file: 'user/User.ts',
    from: [
      './UserHandler.ts',
      '../db.ts',
      '../db',
      '../throttle/Counters.ts',
      '../mail/MailJobs.ts',
      '../auth/Tokens.ts',
      '../account/Confirmation.ts',
      '../plugin/Secrets.ts',
    ],
  },
  { file: 'user/UserModel.ts', from: ['../throttle/Counters.ts'] },
  { file: 'user/Account.ts', from: ['../db.ts'] },
  { file: 'user/SecondFactor.ts', from: ['./MfaHandler.ts', '../account/MfaHandler.ts'] },
  {
    file: 'user/UserHandler.ts',
    from: ['../auth/AuthHandler.ts', '../auth/Sessions.ts', '../throttle/Rules.ts'],
  },
  { file: 'throttle/Counters.ts', from: ['../db.ts', '../mail/MailJobs.ts', '../auth/Sessions.ts'] },
  { file: 'mail/MailJobs.ts', from: ['../db.ts', './MailHandler.ts', '../auth/Sessions.ts'] },
  {
    file: 'mail/MailHandler.ts',
    from: ['../auth/Tokens.ts', '../account/Confirmation.ts', '../local/Ports.ts'],
  },
  { file: 'auth/Tokens.ts', from: ['../db', '../db.ts', '../user/User.ts', '../throttle/Counters.ts'] },
  { file: 'auth/Permissions.ts', from: ['mongoose/lib/index.js', 'mongodb'] },
  {
    file: 'auth/VerifyToken.ts',
    from: [
      './Sessions.ts',
      '../user/SecondFactor.ts',
      '../throttle/Counters.ts',
      '../account/Confirmation.ts',
    ],
  },
  { file: 'auth/RevocationFeed.ts', from: ['./Revocations.ts', '../db.ts'] },
  { file: 'auth/DiscoveryHandler.ts', from: ['../db.ts', './Passwords.ts'] },
  { file: 'auth/SessionAnswer.ts', from: ['../db.ts'] },
  { file: 'auth/SessionHandler.ts', from: ['./AuthHandler.ts'] },
  { file: 'auth/Passwords.ts', from: ['../db.ts'] },
  { file: 'auth/Login.ts', from: ['../api/Environment.ts'] },
  { file: 'auth/Sessions.ts', from: ['../db.ts', '../account/Confirmation.ts'] },
  {
    file: 'auth/AuthHandler.ts',
    from: [
      './VerifyToken.ts',
      '../account/Confirmation.ts',
      '../plugin/Secrets.ts',
      '../test/support/forge.ts',
      '../support/events.ts',
    ],
  },
  { file: 'account/AccountHandler.ts', from: ['../mail/MailHandler.ts', '../auth/SessionHandler.ts'] },
  { file: 'account/Confirmation.ts', from: ['../plugin/Secrets.ts', '../local/Database.ts'] },
  {
    file: 'admin/AdminHandler.ts',
    from: ['../account/AccountHandler.ts', '../local/Ports.ts', '../api/Environment.ts'],
  },
  { file: 'account/PasswordChange.ts', from: ['../admin/AdminHandler.ts'] },
  {
    file: 'local/Database.ts',
    from: ['../plugin/Secrets.ts', '../commands/Admin.ts', '../support/until.ts'],
  },
  {
    file: 'plugin/Secrets.ts',
    from: ['../auth/AuthHandler.ts', '../commands/Keys.ts', '../test/support/forge.ts'],
  },
  {
    file: 'commands/Keys.ts',
    from: ['../user/UserHandler.ts', '../support/project.ts', '../bench/login.ts'],
  },
  { file: 'support/mail.ts', from: ['../test/support/forge.ts', '../bench/support/api.ts'] },
  { file: 'test/unit/A.test.ts', from: ['../../bench/support/api.ts'] },
  { file: 'bench/login.ts', from: ['../test/support/forge.ts'] },
  { file: 'examples/express-service/Service.js', from: ['../../auth/Tokens.ts'] },
]

interface Diagnostic {
  code: string
  filename: string
  labels: { span: { line: number } }[]
}

let folder: string
let found: string[]
const importsOf = (from: string[]) =>
  from.map((path, index) => `import { thing as thing${index} } from '${path}'\n`).join('')

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'auth-lint-'))
  copyFileSync('.oxlintrc.json', join(folder, '.oxlintrc.json'))
  const write = (file: string, text: string) => {
    mkdirSync(dirname(join(folder, file)), { recursive: true })
    writeFileSync(join(folder, file), text)
  }
  for (const { file, from } of violations) write(file, importsOf(from))
  write('one.ts', `import { two } from './two.ts'\n\nexport const one = () => two\n`)
  write('two.ts', `import { one } from './one.ts'\n\nexport const two = () => one\n`)
  const oxlint = join(process.cwd(), 'node_modules', '.bin', 'oxlint')
  const { stdout } = spawnSync(oxlint, ['--format', 'json'], { cwd: folder, encoding: 'utf8' })
  const { diagnostics } = JSON.parse(stdout) as { diagnostics: Diagnostic[] }
  found = diagnostics.map(({ code, filename, labels }) => `${filename}:${labels[0]?.span.line} ${code}`)
})
afterAll(() => rmSync(folder, { recursive: true }))

const rows = violations.flatMap(({ file, from }) =>
  from.map((path, index) => ({ file, from: path, line: index + 1 })),
)

test.each(rows)('$file must not import $from', ({ file, line }) => {
  expect(found).toContain(`${file}:${line} eslint(no-restricted-imports)`)
})

test('a cycle is refused', () => {
  expect(found).toContainEqual(expect.stringMatching(/^(one|two)\.ts:1 .*no-cycle\)$/))
})
