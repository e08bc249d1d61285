/**
 * What is said when a start cannot be.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { freePort } from '../../local/Ports.ts'
import { generateSecrets } from '../../plugin/Secrets.ts'
import { copyProject, sls } from '../../support/project.ts'

const project = copyProject()
const secretsFile = join(project.folder, 'secrets.json')
beforeAll(() => generateSecrets(project.folder))
afterAll(() => project.remove())

describe('one clear sentence, exit code 1 and no stack', () => {
  const secrets = () => JSON.parse(readFileSync(secretsFile, 'utf8')) as Record<string, unknown>

  test.each([
    {
      name: 'a secrets file that is not JSON',
      content: () => '{"PEPPER": "s3cret',
      want: 'secrets.json is not a JSON object.',
    },
    {
      name: 'a misspelt setting',
      content: () => JSON.stringify({ ...secrets(), PEPER: 's3cret' }),
      want: 'Setting PEPER in secrets.json does not exist.',
    },
    {
      name: 'a missing setting',
      content: () => JSON.stringify({ ...secrets(), PEPPER: undefined }),
      want: 'Missing settings: PEPPER.',
    },
    {
      name: 'no mongod to be had',
      // Nothing on the PATH (neither mongod nor python3), nothing fetched before, and nobody to download from.
      environment: { PATH: '/nowhere', HOME: project.folder, MONGOMS_DOWNLOAD_MIRROR: 'http://127.0.0.1:9' },
      want: 'There is no MongoDB to be had',
    },
  ])('for $name', async ({ content, environment = {}, want }) => {
    const before = readFileSync(secretsFile, 'utf8')
    if (content) writeFileSync(secretsFile, content())
    try {
      const run = sls(
        project.folder,
        ['offline', '--httpPort', String(await freePort('localhost'))],
        environment,
      )
      expect(await run.exit).toBe(1)
      expect(run.output().split(want)).toHaveLength(2)
      expect(run.output()).not.toMatch(/^\s+at /m)
      expect(run.output()).not.toContain('s3cret')
    } finally {
      writeFileSync(secretsFile, before)
    }
  })

  test('for a port that is taken', async () => {
    const other = createServer()
    const port = await new Promise<number>((done) => {
      other.listen({ port: 0, host: 'localhost' }, () => done((other.address() as { port: number }).port))
    })
    const run = sls(project.folder, ['offline', '--httpPort', String(port)])
    expect(await run.exit).toBe(1)
    expect(run.output()).toContain(`Port ${port} is taken.`)
    expect(run.output()).not.toMatch(/^\s+at /m)
    await new Promise((done) => other.close(done))
  })
})
