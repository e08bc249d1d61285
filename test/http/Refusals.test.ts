/**
 * What is said when a start cannot be.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { generateSecrets } from '../../plugin/Secrets.ts'
import { copyProject, startApi } from '../../support/project.ts'
import { checkSettings } from '../support/plugin.ts'

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
  ])('for $name', async ({ content, want }) => {
    const before = readFileSync(secretsFile, 'utf8')
    writeFileSync(secretsFile, content())
    try {
      const { said, refusal } = await checkSettings(project.folder, 'offline')
      expect(said).toBe('')
      expect(refusal!.split(want)).toHaveLength(2)
      expect(refusal).not.toMatch(/^\s+at /m)
      expect(refusal).not.toContain('s3cret')
    } finally {
      writeFileSync(secretsFile, before)
    }
  })

  // The one that is a process, and shows what the framework makes of such a refusal.
  test('for no mongod to be had', async () => {
    // Nothing on the PATH (neither mongod nor python3), nothing fetched before, and nobody to download from.
    const environment = {
      PATH: '/nowhere',
      HOME: project.folder,
      MONGOMS_DOWNLOAD_MIRROR: 'http://127.0.0.1:9',
    }
    const message = await startApi(project.folder, { environment }).then(
      () => 'it serves',
      (error: Error) => error.message,
    )
    expect(message).toMatch(/^sls offline ended with 1:/)
    expect(message.split('There is no MongoDB to be had')).toHaveLength(2)
    expect(message).not.toMatch(/^\s+at /m)
  })

  test('for a port that is taken', async () => {
    const other = createServer()
    const port = await new Promise<number>((done) => {
      other.listen({ port: 0, host: 'localhost' }, () => done((other.address() as { port: number }).port))
    })
    const { refusal } = await checkSettings(project.folder, 'offline', {}, { httpPort: String(port) })
    expect(refusal).toContain(`Port ${port} is taken.`)
    expect(refusal).not.toMatch(/^\s+at /m)
    await new Promise((done) => other.close(done))
  })
})
