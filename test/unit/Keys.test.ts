/**
 * The key ring: when a key may be promoted and removed, what is recorded of it, and the commands.
 */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { publicKeys } from '../../auth/Tokens.ts'
import { keys as runCommand } from '../../commands/KeysCommand.ts'
import {
  addKey,
  describeKeys,
  promoteKey,
  type RecordedKeyRing,
  recordDeployment,
  removeKey,
  withoutRecords,
} from '../../plugin/Keys.ts'
import { fileOf, newSecrets, Secrets } from '../../plugin/Secrets.ts'
import { messageOf } from '../support/messageOf.ts'
import { compileModule } from '../../support/command.ts'
import { recordDeployed } from '../support/plugin.ts'
import { addPlugin, copyProject, keepFunctions, run, sls } from '../../support/project.ts'
import { newKey } from '../support/forge.ts'

type Key = RecordedKeyRing['keys'][number]

const NOW = new Date('2026-11-22T15:00:30.000Z')
/** The time so many minutes before NOW. */
const ago = (minutes: number) => new Date(NOW.getTime() - minutes * 60_000).toISOString()
const DAY = 24 * 60

const keyNamed = (kid: string): Key => ({ ...newKey(), kid })
const [a, b, c] = [keyNamed('a'), keyNamed('b'), keyNamed('c')]
/** A key that signs since a day ago. */
const signing = { ...a, createdAt: ago(DAY), publishedAt: ago(DAY), signingSince: ago(DAY) }
/** A key that another one has replaced so many minutes ago. */
const retired = (minutes: number) => ({ ...signing, signedUntil: ago(minutes) })
/** A key that was added, and published so many minutes ago. */
const added = (minutes?: number) => ({
  ...b,
  createdAt: ago(DAY),
  ...(minutes !== undefined && { publishedAt: ago(minutes) }),
})
const ring = (...keys: Key[]): RecordedKeyRing => ({ keys })
const kids = ({ keys }: RecordedKeyRing) => keys.map(({ kid }) => kid).join(' ')

test('add puts a new key last, named by its RFC 7638 thumbprint, and leaves the others as they are', () => {
  const { keyRing, says } = addKey(ring(signing), NOW)
  expect(keyRing.keys).toEqual([
    signing,
    { ...newKey(), createdAt: NOW.toISOString(), ...anyMembers('kid', 'x', 'y', 'd') },
  ])
  const { kid } = keyRing.keys[1]!
  expect(kid).toMatch(/^[\w-]{43}$/)
  expect(says).toBe(`Added ${kid}. Deploy now to publish it. You can promote it 2 hours later.`)
})

test('making keys never hangs, whenever garbage is collected', async () => {
  const { command, remove } = await compileModule('plugin/Keys.ts')
  const folder = mkdtempSync(join(tmpdir(), 'keys-test-'))
  try {
    const [node, module] = command as [string, string]
    const script = `import { generateKey } from '${pathToFileURL(module).href}'
const garbage = []
for (let made = 0; made < 4000; made++) garbage[made % 500] = JSON.stringify(generateKey())`
    writeFileSync(join(folder, 'make.mjs'), script)
    // Collected so often, it hung seven times out of eight before it was fixed.
    const often = ['--max-semi-space-size=1', '--gc-interval=11']
    const { exit, process: child } = run(folder, [node, ...often, 'make.mjs'])
    const deadline = setTimeout(() => child.kill('SIGKILL'), 100_000)
    expect(await exit).toBe(0)
    clearTimeout(deadline)
  } finally {
    rmSync(folder, { recursive: true })
    remove()
  }
})

const anyMembers = (...names: string[]) =>
  Object.fromEntries(names.map((name) => [name, expect.any(String) as string]))

const DEPLOY_FIRST =
  'deploy first or, if a pipeline has already deployed it, pass --url with the URL of the API'
const UNPUBLISHED = `b is not known to be published, so nobody could verify its tokens: ${DEPLOY_FIRST}. You can promote it 2 hours after that.`
const UNKNOWN = 'There is no key z in the ring. To list the keys: npm run keys -- list'
const FORCED_PROMOTION =
  ' Because you used --force, this API refuses some tokens of the new key until the deployment is done, and services that cache the JWKS refuse them for up to 2 hours.'
const FORCED_REMOVAL =
  ' Because you used --force, access tokens that it signed stop working with that deployment. Clients can refresh to get new ones.'

describe('promote', () => {
  test.each<{ name: string; keys: RecordedKeyRing; kid?: string; force?: boolean; want: string }>([
    { name: 'an unknown key', keys: ring(signing, added(DAY)), kid: 'z', want: UNKNOWN },
    { name: 'an unknown key by force', keys: ring(signing), kid: 'z', force: true, want: UNKNOWN },
    {
      name: 'the key that signs',
      keys: ring(signing, added(DAY)),
      kid: 'a',
      want: 'a has been signing since 2026-11-21T15:00Z. There is nothing to promote.',
    },
    {
      name: 'the key that signs, by force',
      keys: ring(signing, added(DAY)),
      kid: 'a',
      force: true,
      want: 'a has been signing since 2026-11-21T15:00Z. There is nothing to promote.',
    },
    {
      name: 'a key that is promoted and not yet deployed',
      keys: ring(added(DAY), signing),
      want: 'b already signs, or will after the next deployment. There is nothing to promote.',
    },
    { name: 'a key that was never published', keys: ring(signing, added()), want: UNPUBLISHED },
    { name: 'a key of which nothing is known', keys: ring(signing, b), want: UNPUBLISHED },
    {
      name: 'a key that was published just now',
      keys: ring(signing, added(0)),
      want: 'b was published at 2026-11-22T15:00Z, and verifiers may cache older keys for 2 hours. You can promote it from 2026-11-22T17:01Z on.',
    },
    {
      name: 'a key that is known for a minute less than two hours',
      keys: ring(signing, added(119)),
      want: 'b was published at 2026-11-22T13:01Z, and verifiers may cache older keys for 2 hours. You can promote it from 2026-11-22T15:02Z on.',
    },
  ])('refuses $name', ({ keys, kid = 'b', force, want }) => {
    expect(messageOf(() => promoteKey(keys, kid, NOW, force))).toBe(want)
  })

  test.each<{ name: string; keys: RecordedKeyRing; force?: boolean; want: string; forced?: boolean }>([
    { name: 'a key that is known for two hours', keys: ring(signing, added(120)), want: 'b a' },
    { name: 'the last of three', keys: ring(signing, c, added(DAY)), want: 'b a c' },
    { name: 'a key by force that may', keys: ring(signing, added(120)), force: true, want: 'b a' },
    {
      name: 'an unpublished key by force',
      keys: ring(signing, added()),
      force: true,
      want: 'b a',
      forced: true,
    },
    { name: 'a new key by force', keys: ring(signing, added(119)), force: true, want: 'b a', forced: true },
  ])('takes $name', ({ keys, force, want, forced = false }) => {
    const { keyRing, says } = promoteKey(keys, 'b', NOW, force)
    expect(kids(keyRing)).toBe(want)
    expect(says).toBe(
      'b will sign after the next deployment. Keep a for the tokens that it has signed. ' +
        `You can remove it 15.5 minutes after that deployment.${forced ? FORCED_PROMOTION : ''}`,
    )
  })
})

describe('remove', () => {
  const successor = { ...added(DAY), signingSince: ago(15) }
  const MAY_SIGN = `a may still sign, because no deployment with another signing key is on record: ${DEPLOY_FIRST}. You can remove it 15.5 minutes after that.`

  test.each<{ name: string; keys: RecordedKeyRing; kid?: string; force?: boolean; want: string }>([
    { name: 'an unknown key', keys: ring(signing, added(DAY)), kid: 'z', want: UNKNOWN },
    { name: 'an unknown key by force', keys: ring(signing), kid: 'z', force: true, want: UNKNOWN },
    ...[false, true].flatMap((force) => [
      {
        name: 'the only key',
        keys: ring(signing),
        force,
        want: 'a is the only key. Add another one and promote it before you remove this one.',
      },
      {
        name: 'the key that signs',
        keys: ring(signing, added(DAY)),
        force,
        want: 'a is the key that signs. Promote another one before you remove this one.',
      },
    ]),
    { name: 'a key whose successor is not deployed', keys: ring(added(DAY), signing), want: MAY_SIGN },
    { name: 'a key of which nothing is known', keys: ring(added(DAY), a), want: MAY_SIGN },
    {
      name: 'a key that signed half a minute less than its tokens live',
      keys: ring(successor, retired(15)),
      want: 'a signed until 2026-11-22T14:45Z, and its tokens are valid for 15.5 minutes. You can remove it from 2026-11-22T15:01Z on.',
    },
  ])('refuses $name (force: $force)', ({ keys, kid = 'a', force, want }) => {
    expect(messageOf(() => removeKey(keys, kid, NOW, force))).toBe(want)
  })

  test.each<{ name: string; keys: RecordedKeyRing; kid?: string; force?: boolean; forced?: boolean }>([
    { name: 'a key whose last token has died', keys: ring(successor, retired(15.5)) },
    { name: 'a key that was added and not deployed', keys: ring(signing, added()), kid: 'b' },
    { name: 'a key that is published and never signed', keys: ring(signing, added(0)), kid: 'b' },
    {
      name: 'a retired key after it was promoted again',
      keys: ring({ ...c, createdAt: ago(0) }, retired(DAY)),
    },
    { name: 'a key by force that may', keys: ring(successor, retired(DAY)), force: true },
    {
      name: 'a key by force that has just signed',
      keys: ring(successor, retired(0)),
      force: true,
      forced: true,
    },
    { name: 'a key by force that signs still', keys: ring(added(DAY), signing), force: true, forced: true },
  ])('takes $name', ({ keys, kid = 'a', force, forced = false }) => {
    const { keyRing, says } = removeKey(keys, kid, NOW, force)
    expect(kids(keyRing)).toBe(kids(keys).replace(kid, '').trim())
    expect(says).toBe(`Removed ${kid}. Deploy now to remove it from the JWKS.${forced ? FORCED_REMOVAL : ''}`)
  })

  test('a key that was first without a recorded deployment counts as one that signed', () => {
    const back = (keys: RecordedKeyRing, kid: string) => promoteKey(keys, kid, NOW, true).keyRing
    const again = back(back(ring(signing, added(DAY)), 'b'), 'a')
    expect(messageOf(() => removeKey(again, 'b', NOW))).toBe(MAY_SIGN.replace('a', 'b'))
    // Also one that had been retired for long.
    const retiredAgain = back(back(ring({ ...added(DAY), signingSince: ago(60) }, retired(60)), 'a'), 'b')
    expect(messageOf(() => removeKey(retiredAgain, 'a', NOW))).toBe(MAY_SIGN)
  })
})

describe('a deployment is recorded:', () => {
  const now = NOW.toISOString()
  const deployed = (...keys: Key[]) => publicKeys(ring(...keys))
  test.each<{ name: string; before: Key[]; deployed?: Key[]; after: Key[] }>([
    {
      name: 'the first one',
      before: [
        { ...a, createdAt: ago(1) },
        { ...b, createdAt: ago(1) },
      ],
      after: [
        { ...a, createdAt: ago(1), publishedAt: now, signingSince: now },
        { ...b, createdAt: ago(1), publishedAt: now },
      ],
    },
    { name: 'the same again', before: [signing, added(DAY)], after: [signing, added(DAY)] },
    { name: 'a key that was added', before: [signing, added()], after: [signing, added(0)] },
    {
      name: 'a key that was promoted',
      before: [added(DAY), signing],
      after: [{ ...added(DAY), signingSince: now }, retired(0)],
    },
    {
      name: 'a key that signs again after another',
      before: [retired(60), { ...added(DAY), signingSince: ago(60) }],
      after: [
        { ...signing, signingSince: now },
        { ...added(DAY), signingSince: ago(60), signedUntil: now },
      ],
    },
    {
      name: 'a key that was retired before',
      before: [{ ...added(DAY), signingSince: ago(60) }, retired(60)],
      after: [{ ...added(DAY), signingSince: ago(60) }, retired(60)],
    },
    {
      name: 'keys of a file without records, of which any may have signed before',
      before: [a, b],
      after: [
        { ...a, publishedAt: now, signingSince: now },
        { ...b, publishedAt: now, signedUntil: now },
      ],
    },
    {
      name: 'a key that came into the file meanwhile',
      before: [signing, added()],
      deployed: [a],
      after: [signing, added()],
    },
    {
      name: 'an order that is not yet that of the file',
      before: [added(DAY), signing],
      deployed: [a, b],
      after: [added(DAY), signing],
    },
    {
      name: 'a key that is not published any more',
      before: [signing, added(DAY)],
      deployed: [a],
      after: [signing, added()],
    },
    {
      name: 'a key that is in the JWKS and not in the file',
      before: [signing],
      deployed: [a, c],
      after: [signing],
    },
    {
      name: 'a namesake of a key',
      before: [signing, added()],
      deployed: [a, { ...c, kid: 'b' }],
      after: [signing, added()],
    },
  ])('$name', ({ before, deployed: keys = before, after }) => {
    expect(recordDeployment(ring(...before), deployed(...keys), NOW)).toEqual(ring(...after))
  })

  test('but not one of another stage', () => {
    expect(messageOf(() => recordDeployment(ring(signing), deployed(b, { ...c, kid: 'a' }), NOW))).toBe(
      'None of the deployed keys is in the secrets file. They belong to another stage.',
    )
  })
})

test.each<{ name: string; keys: Key[]; want: string[] }>([
  {
    name: 'new secrets',
    keys: [{ ...a, createdAt: ago(0) }],
    want: [
      'a  created 2026-11-22T15:00Z, not known to be published, not known to sign; will sign after the next deployment',
    ],
  },
  {
    name: 'keys of which nothing is known',
    keys: [a, b],
    want: [
      'a  created at an unknown time, not known to be published, not known to sign; will sign after the next deployment',
      'b  created at an unknown time, not known to be published, not known to sign; can be promoted 2 hours after the next deployment, removed 15.5 minutes after the next deployment',
    ],
  },
  {
    name: 'a key that waits',
    keys: [signing, added(30)],
    want: [
      'a  created 2026-11-21T15:00Z, published since 2026-11-21T15:00Z, signing since 2026-11-21T15:00Z; stays until another key is promoted',
      'b  created 2026-11-21T15:00Z, published since 2026-11-22T14:30Z, not known to sign; can be promoted from 2026-11-22T16:31Z on, removed now',
    ],
  },
  {
    name: 'a key that is promoted and deployed',
    keys: [{ ...added(DAY), signingSince: ago(5) }, retired(5)],
    want: [
      'b  created 2026-11-21T15:00Z, published since 2026-11-21T15:00Z, signing since 2026-11-22T14:55Z; stays until another key is promoted',
      'a  created 2026-11-21T15:00Z, published since 2026-11-21T15:00Z, not signing since 2026-11-22T14:55Z; can be promoted now, removed from 2026-11-22T15:11Z on',
    ],
  },
])('list describes $name', ({ keys, want }) => {
  expect(describeKeys(ring(...keys), NOW)).toEqual(want)
})

/**
 * Random people: they try everything in any order, deploy with and without a record, and read the JWKS now and then.
 * What a verifier holds and what a client holds is followed beside it.
 */
test('whatever is done without force, in any order, no live token meets a verifier that does not know its key', () => {
  const done = { promoted: 0, removed: 0 }
  const refused: string[] = []
  for (let seed = 1; seed <= 300; seed++) {
    const random = randomNumbers(seed)
    let now = NOW.getTime()
    let file = addKey(ring(), NOW).keyRing
    const everyKey = new Map(file.keys.map((key) => [key.kid, key]))
    /** All deployments: until when they served (milliseconds), and with which keys. */
    const live = [{ until: Infinity, kids: kids(file).split(' ') }]
    const deploy = () => {
      live.at(-1)!.until = now
      live.push({ until: Infinity, kids: kids(file).split(' ') })
    }
    const record = () => {
      const order = live.at(-1)!.kids
      const known = order.map((kid) => everyKey.get(kid)!)
      file = recordDeployment(file, publicKeys(ring(...known)), new Date(now))
    }
    const attempt = (change: typeof promoteKey, name: keyof typeof done) => {
      const { kid } = file.keys[Math.floor(random() * file.keys.length)]!
      try {
        file = change(file, kid, new Date(now)).keyRing
        done[name]++
      } catch {
        // refused
      }
    }
    const actions = [
      () => void (file.keys.length < 4 && (file = addKey(file, new Date(now)).keyRing)),
      () => attempt(promoteKey, 'promoted'),
      () => attempt(removeKey, 'removed'),
      () => deploy(),
      () => (deploy(), record()),
      () => live.length > 1 && record(),
      () => void (now += random() * 20 * 60_000),
      () => void (now += random() * 180 * 60_000),
    ]
    for (let step = 0; step < 60; step++) {
      actions[Math.floor(random() * actions.length)]!()
      for (const key of file.keys) everyKey.set(key.kid, key)

      const current = live.at(-1)!
      for (const { until, kids } of live) {
        // Tokens that were signed until then, at the authorizer of today.
        if (until > now - 15.5 * 60_000 && !current.kids.includes(kids[0]!))
          refused.push(`token, seed ${seed}`)
        // A JWKS that was fetched until then, at a service that keeps it for two hours.
        if (until > now - 120 * 60_000 && !kids.includes(current.kids[0]!)) refused.push(`key, seed ${seed}`)
      }
    }
  }
  expect(refused).toEqual([])
  // Else nothing was tried.
  expect(done.promoted).toBeGreaterThan(300)
  expect(done.removed).toBeGreaterThan(300)
})

/** Park and Miller's generator: numbers from 0 to 1, the same for the same seed. */
function randomNumbers(seed: number): () => number {
  let state = seed * 7919
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647
}

test('what the Lambdas get has no records, wherever the keys are from', () => {
  const records = { ...retired(1), signedUntil: ago(1) }
  expect(withoutRecords(ring(records))).toEqual(ring(a))
  for (const environment of [{}, { SIGNING_KEYS: JSON.stringify(ring(records)) }]) {
    const folder = mkdtempSync(join(tmpdir(), 'keys-test-'))
    try {
      writeFileSync(join(folder, 'secrets.json'), JSON.stringify({ SIGNING_KEYS: ring(records) }))
      const secrets = new Secrets(folder, 'dev', environment)
      expect(JSON.parse(secrets.get('SIGNING_KEYS')!)).toEqual(ring(a))
      expect(JSON.parse(secrets.get('VERIFICATION_KEYS')!)).toEqual(publicKeys(ring(a)))
    } finally {
      rmSync(folder, { recursive: true })
    }
  }
})

describe('the commands', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'keys-test-'))
  })
  afterEach(() => rmSync(folder, { recursive: true, maxRetries: 3 }))

  const write = (keys: unknown, stage = 'dev') =>
    writeFileSync(join(folder, fileOf(stage)), JSON.stringify({ ...newSecrets(), SIGNING_KEYS: keys }))
  const text = (stage = 'dev') => readFileSync(join(folder, fileOf(stage)), 'utf8')
  const read = (stage = 'dev') => (JSON.parse(text(stage)) as { SIGNING_KEYS: RecordedKeyRing }).SIGNING_KEYS
  /** Runs the command in this process. */
  const keys = async (...args: string[]) => {
    let said = ''
    const stream = { write: (text: string) => (said += text) }
    const status = await runCommand(args, folder, { stdout: stream, stderr: stream })
    expectClean(folder, said)
    return { status, said }
  }
  /** The time so many minutes ago. */
  const before = (minutes: number) => new Date(Date.now() - minutes * 60_000).toISOString()

  test('add, list, promote and remove work on the file of their stage', async () => {
    write(ring(signing), 'prod')
    write(ring(c))
    const local = text()
    const { status, said } = await runKeys(folder, ['add', '--stage', 'prod'])
    expect(status).toBe(0)
    const [, { kid }] = read('prod').keys as [Key, Key]
    expect(said).toMatch(`Added ${kid}. `)
    expect((await keys('list', '--stage=prod')).said.split('\n')).toEqual([
      expect.stringMatching(/^a {2}created .*, signing since .*; stays/),
      expect.stringMatching(
        `^${kid}  created .*; can be promoted 2 hours after the next deployment, removed now$`,
      ),
      '',
    ])
    write(ring(signing, { ...read('prod').keys[1]!, publishedAt: before(120) }), 'prod')
    expect(await keys('promote', kid, '--stage', 'prod')).toMatchObject({ status: 0 })
    expect(kids(read('prod'))).toBe(`${kid} a`)
    expect(await keys('remove', 'a', '--stage', 'prod', '--force')).toMatchObject({ status: 0 })
    expect(kids(read('prod'))).toBe(kid)
    expect(text()).toBe(local)
  })

  test('a refusal is one sentence, and changes nothing', async () => {
    write(ring(signing, added()))
    const unchanged = text()
    const refused = { status: 1, said: `${UNPUBLISHED}\n` }
    expect(await runKeys(folder, ['promote', 'b'])).toEqual(refused)
    expect(await keys('promote', 'b')).toEqual(refused)
    expect(await keys('remove', 'a')).toEqual({
      status: 1,
      said: 'a is the key that signs. Promote another one before you remove this one.\n',
    })
    expect(text()).toBe(unchanged)
    expect(readdirSync(folder).toSorted()).toEqual(['.tmp', 'secrets.json'])
  })

  test('a kid may begin with a hyphen', async () => {
    write(ring(signing, { ...added(DAY), kid: '--b' }))
    expect(await keys('promote', '--b', '--stage', 'dev')).toMatchObject({ status: 0 })
    expect(kids(read())).toBe('--b a')
  })

  test.each([
    { args: [] },
    { args: ['rotate'] },
    { args: ['promote'] },
    { args: ['remove', '--force', 'a'] },
    { args: ['list', '--force'] },
    { args: ['list', '--stage'] },
    { args: ['list', '--stage', 'example'] },
    { args: ['list', '--stage', '../prod'] },
  ])('$args is answered with help', async ({ args }) => {
    write(ring(signing, added(DAY)))
    const unchanged = text()
    const { status, said } = await keys(...args)
    expect(status).toBe(1)
    expect(said).toMatch(/^Usage:\n {2}npm run keys -- list /)
    expect(text()).toBe(unchanged)
  })

  const NO_KEYS =
    '. npm start creates secrets.json, and npm run secrets -- prod creates the file of a stage.\n'
  test.each<{ name: string; file: unknown; want: string }>([
    { name: 'no file', file: undefined, want: `There are no SIGNING_KEYS in secrets.json${NO_KEYS}` },
    {
      name: 'a file that is broken in the middle of a key',
      file: JSON.stringify({ SIGNING_KEYS: ring(a) }).slice(0, -10),
      want: 'secrets.json is not a JSON object. Repair it: its keys and its pepper cannot be recreated.\n',
    },
    {
      name: 'halves of two keys',
      file: { SIGNING_KEYS: ring({ ...a, d: b.d! }) },
      want: 'Setting SIGNING_KEYS contains a, which is not a valid P-256 key pair. It is read from secrets.json.\n',
    },
    {
      name: 'a time that is none',
      file: { SIGNING_KEYS: ring({ ...a, publishedAt: 'yesterday' }) },
      want: 'Setting SIGNING_KEYS.keys.0.publishedAt must be a time such as 2026-01-31T12:00:00Z. It is read from secrets.json.\n',
    },
    {
      name: 'a record that is unknown',
      file: { SIGNING_KEYS: ring({ ...a, expiresAt: ago(0) }) },
      want: 'Setting SIGNING_KEYS.keys.0 has an unknown member expiresAt. It is read from secrets.json.\n',
    },
  ])('$name is said in a sentence', async ({ file, want }) => {
    if (file) {
      writeFileSync(join(folder, 'secrets.json'), typeof file === 'string' ? file : JSON.stringify(file))
    }
    expect(await keys('list')).toEqual({ status: 1, said: want })
  })

  test('everything else in the file stays as it is, in its order, readable by its owner only', async () => {
    const { PEPPER, REFRESH_TOKEN_KEY } = newSecrets()
    const rest = { '// a note': 'äöü', BCRYPT_COST: 12, AUDIENCE: 'my-app', '// last': '' }
    // A file may hold the keys as an environment variable does.
    const content = {
      PEPPER,
      '// SIGNING_KEYS': 'the keys',
      SIGNING_KEYS: JSON.stringify(ring(signing)),
      REFRESH_TOKEN_KEY,
      ...rest,
    }
    writeFileSync(join(folder, 'secrets.json'), JSON.stringify(content), { mode: 0o644 })
    await keys('add')
    expect(text()).toBe(`${JSON.stringify({ ...content, SIGNING_KEYS: read() }, null, 2)}\n`)
    expect(read().keys).toHaveLength(2)
    expect(statSync(join(folder, 'secrets.json')).mode & 0o777).toBe(
      process.platform === 'win32' ? 0o666 : 0o600,
    )
    expect(readdirSync(folder)).toEqual(['secrets.json'])
  })

  test('a file that cannot be written stays whole, and so does a link to it', async () => {
    write(ring(signing), 'elsewhere')
    symlinkSync(fileOf('elsewhere'), join(folder, 'secrets.json'))
    const unchanged = text()
    // As on a full disk.
    const failed = await runKeys(folder, ['add'], 'ulimit -f 0 && exec "$@"')
    expect(failed.status).toBe(1)
    expect(failed.said).toMatch(/^secrets\.json cannot be written: EFBIG: .*\n$/)
    expect(text()).toBe(unchanged)

    expect(await keys('add')).toMatchObject({ status: 0 })
    expect(lstatSync(join(folder, 'secrets.json')).isSymbolicLink()).toBe(true)
    expect(read('elsewhere').keys).toHaveLength(2)
    expect(readdirSync(folder).toSorted()).toEqual(['.tmp', 'secrets.elsewhere.json', 'secrets.json'])
  })

  describe('with --url', () => {
    let api: Server
    let url: string
    let answer: { status: number; body: string }
    beforeAll(async () => {
      api = createServer((request, response) => {
        const found = request.url === '/.well-known/jwks.json'
        response.writeHead(found ? answer.status : 404).end(answer.body)
      })
      await new Promise<void>((done) => api.listen(0, '127.0.0.1', done))
      url = `http://127.0.0.1:${(api.address() as AddressInfo).port}`
    })
    afterAll(() => api.close())
    const publish = (...published: Key[]) => {
      answer = { status: 200, body: JSON.stringify(publicKeys(ring(...published))) }
    }

    test('a rotation through a pipeline, which writes no records', async () => {
      write(ring({ ...a, createdAt: before(DAY) }, { ...b, createdAt: before(DAY) }))
      publish(a)
      expect((await keys('promote', 'b', '--url', url)).said).toBe(`${UNPUBLISHED}\n`)
      expect(read().keys[0]).toMatchObject({
        publishedAt: expect.any(String),
        signingSince: expect.any(String),
      })

      publish(a, b)
      expect((await keys('promote', 'b', '--url', `${url}/`)).said).toMatch(
        /You can promote it from .* on\.\n$/,
      )
      // What was seen is kept: the two hours have begun.
      const [first, second] = read().keys as [Key, Key]
      expect(first).not.toHaveProperty('signedUntil')
      write(ring(first, { ...second, publishedAt: before(120) }))
      expect(await keys('promote', 'b')).toMatchObject({ status: 0 })

      expect((await keys('remove', 'a', '--url', url)).said).toMatch(/^a may still sign/)
      publish(b, a)
      expect((await keys('list', '--url', url)).said).toMatch(
        /^b {2}.*, signing since .*; stays .*\na {2}.*, not signing since .*; can be promoted .*, removed from .* on\n$/,
      )
      const [signs, retires] = read().keys as [Key, Key]
      write(ring(signs, { ...retires, signedUntil: before(15.5) }))
      expect(await keys('remove', 'a', '--url', url)).toMatchObject({ status: 0 })
      expect(kids(read())).toBe('b')
    })

    const OTHER = `/.well-known/jwks.json does not return the public keys of this API. Pass the URL that clients use for the API: --url https://auth.example.com\n`
    test.each([
      {
        name: 'the keys of another stage',
        status: 200,
        body: JSON.stringify(publicKeys(ring(c))),
        want: 'None of the deployed keys is in the secrets file. They belong to another stage.\n',
      },
      { name: 'an error', status: 503, body: '{"title":"Service Unavailable"}', want: OTHER },
      { name: 'a page', status: 200, body: '<!doctype html>', want: OTHER },
      { name: 'no keys', status: 200, body: '{"keys":[]}', want: OTHER },
      { name: 'private keys', status: 200, body: JSON.stringify(ring(a)), want: OTHER },
    ])('$name is refused', async ({ want, ...wrong }) => {
      write(ring(a, b))
      const unchanged = text()
      answer = wrong
      const { status, said } = await keys('list', '--url', url)
      expect([status, said.replace(url, '')]).toEqual([1, want])
      expect(text()).toBe(unchanged)
    })

    test.each(['http://127.0.0.1:1', 'auth.example.com', 'ftp://auth.example.com'])(
      '%s is no API',
      async (wrong) => {
        write(ring(a))
        expect(await keys('list', '--url', wrong)).toEqual({
          status: 1,
          said: `Cannot reach ${wrong}/.well-known/jwks.json. Pass the URL that clients use for the API: --url https://auth.example.com\n`,
        })
      },
    )
  })
})

let compiled: Awaited<ReturnType<typeof compileModule>>
beforeAll(async () => {
  compiled = await compileModule('commands/Keys.ts')
})
afterAll(() => compiled.remove())

/**
 * Runs the command in a process of its own, as `npm run keys` does.
 * @param script for a shell, which gets the command line as its arguments
 */
async function runKeys(folder: string, args: string[], script?: string) {
  const command = [...compiled.command, ...args]
  const { exit, output } = run(folder, script ? ['sh', '-c', script, 'sh', ...command] : command)
  const status = await exit
  expectClean(folder, output())
  return { status, said: output() }
}

/** Looks for private keys and stack traces in what a command prints. */
function expectClean(folder: string, output: string): void {
  expectNoSecrets(folder, output)
  expect(output).not.toMatch(/^\s+at /m)
}

function expectNoSecrets(folder: string, output: string): void {
  const files = readdirSync(folder).filter((name) => name.startsWith('secrets.'))
  const known = files.flatMap((name) =>
    [...readFileSync(join(folder, name), 'utf8').matchAll(/\bd\\*"\s*:\s*\\*"([\w-]{43})/g)].map(
      ([, d]) => d!,
    ),
  )
  for (const d of [...known, a.d!, b.d!, c.d!]) expect(output).not.toContain(d)
}

describe('sls deploy', () => {
  const project = copyProject()
  afterAll(() => project.remove())
  const file = join(project.folder, 'secrets.prod.json')
  const read = () =>
    (JSON.parse(readFileSync(file, 'utf8')) as { SIGNING_KEYS: RecordedKeyRing }).SIGNING_KEYS

  beforeAll(() => {
    // Stands in for AWS: a deployment is one command, which fails or not.
    writeFileSync(
      join(project.folder, 'cloud.mjs'),
      `import { execSync } from 'node:child_process'
export default class Cloud {
  constructor({ pluginManager: { hooks } }) {
    const withoutAws = (event) => (hooks[event] = hooks[event].filter(({ pluginName }) => pluginName === 'Cloud'))
    this.hooks = {
      initialize: () => ['deploy:deploy', 'deploy:finalize'].forEach(withoutAws),
      'deploy:deploy': () => execSync(process.env.DEPLOYMENT),
      'deploy:finalize': () => undefined,
    }
  }
}
`,
    )
    addPlugin(project.folder, './cloud.mjs')
    keepFunctions(project.folder, ['mail', 'verifyToken'])
  })
  beforeEach(() => {
    const secrets = {
      DB: 'mongodb://db.test/auth?tls=true',
      SMTP_URL: 'smtps://mail.test',
      MAIL_FROM: 'no-reply@auth.test',
      ...newSecrets(),
      SIGNING_KEYS: ring(a, { ...b, createdAt: ago(0) }),
    }
    writeFileSync(file, JSON.stringify(secrets))
  })

  const deploy = async (deployment: string, environment: NodeJS.ProcessEnv = {}, ...args: string[]) => {
    const started = sls(project.folder, ['deploy', '--stage', 'prod', ...args], {
      DEPLOYMENT: deployment,
      // Nobody answers there, and it is asked once.
      AWS_ENDPOINT_URL: 'http://127.0.0.1:1',
      AWS_MAX_ATTEMPTS: '1',
      AWS_ACCESS_KEY_ID: 'id',
      AWS_SECRET_ACCESS_KEY: 'secret',
      ...environment,
    })
    const status = await started.exit
    expectNoSecrets(project.folder, started.output())
    return { status, said: started.output() }
  }
  const quote = (...words: string[]) => words.map((word) => `"${word}"`).join(' ')

  test('records the keys that it deploys, and not one that is added meanwhile', async () => {
    const add = quote(...compiled.command, 'add', '--stage', 'prod')
    const { status, said } = await deploy(add)
    expect([status, said.includes('Warning: could not record')]).toEqual([0, false])
    const [first, second, third] = read().keys
    expect(first).toEqual({ ...a, publishedAt: expect.any(String), signingSince: first!.publishedAt })
    expect(second).toEqual({ ...b, createdAt: ago(0), publishedAt: first!.publishedAt })
    expect(Object.keys(third!).slice(-2)).toEqual(['d', 'createdAt'])
  })

  /** Lets the framework run the plugin's part of a deployment; it says what it prints. */
  const afterDeployment = (options: Record<string, unknown> = {}, meanwhile = () => {}) =>
    recordDeployed(project.folder, { stage: 'prod', options, meanwhile })

  test('records nothing when it fails', async () => {
    const environment = process.env['SIGNING_KEYS']
    delete process.env['SIGNING_KEYS']
    const unchanged = readFileSync(file, 'utf8')
    const failed = afterDeployment({}, () => {
      throw new Error('no such bucket')
    })
    await expect(failed).rejects.toThrow('no such bucket')
    expect(readFileSync(file, 'utf8')).toBe(unchanged)
    // Nor before it has succeeded, as one that does shows.
    await afterDeployment({}, () => expect(readFileSync(file, 'utf8')).toBe(unchanged))
    expect(readFileSync(file, 'utf8')).not.toBe(unchanged)
    process.env['SIGNING_KEYS'] = environment
  })

  test('records nothing of keys that are from the environment, nor of a package that was made before', async () => {
    const unchanged = readFileSync(file, 'utf8')
    await afterDeployment({ package: '.serverless' })
    expect(readFileSync(file, 'utf8')).toBe(unchanged)
    // As every test file has it.
    const environment = process.env['SIGNING_KEYS']
    await afterDeployment()
    expect(readFileSync(file, 'utf8')).toBe(unchanged)
    delete process.env['SIGNING_KEYS']
    await afterDeployment()
    process.env['SIGNING_KEYS'] = environment
    expect(readFileSync(file, 'utf8')).not.toBe(unchanged)
  })

  test('warns where it cannot record, and is a deployment all the same', async () => {
    const environment = process.env['SIGNING_KEYS']
    delete process.env['SIGNING_KEYS']
    const said = await afterDeployment({}, () => writeFileSync(file, '{'))
    process.env['SIGNING_KEYS'] = environment
    expect(said).toContain(
      'Warning: could not record the deployed keys in secrets.prod.json. secrets.prod.json is not a JSON object.',
    )
  })
})
