/**
 * The settings of a function: read once at its cold start, and named where they are missing or malformed.
 */
const KEY = process.env['PEPPER']!
const SECRET = 'hunter2'

afterEach(() => {
  process.env['PEPPER'] = KEY
})

/** api/Environment.ts as a new process would load it. */
async function coldStart(pepper: string | undefined) {
  if (pepper === undefined) delete process.env['PEPPER']
  else process.env['PEPPER'] = pepper
  let config: typeof import('../../api/Environment.ts') | undefined
  await jest.isolateModulesAsync(async () => {
    config = await import('../../api/Environment.ts')
  })
  return config!
}

test('a setting is read once, as the code uses it', async () => {
  const { setting } = await coldStart(KEY)
  process.env['PEPPER'] = 'changed later'
  expect(setting('PEPPER')).toEqual(Buffer.from(KEY, 'base64url'))
  expect(setting('BCRYPT_COST')).toBe(4)
})

test.each([{ text: '' }, { text: SECRET }])(
  'a malformed one, "$text", stops the cold start with a sentence that names it and does not hold it',
  async ({ text }) => {
    const message = await coldStart(text).then(() => 'started', String)
    expect(message).toBe('Error: Setting PEPPER must be at least 32 random bytes in base64url.')
  },
)

test('a missing one is named to who asks for it, and stops nobody else', async () => {
  const { setting } = await coldStart(undefined)
  expect(() => setting('PEPPER')).toThrow(new Error('Setting PEPPER is missing.'))
  expect(setting('BCRYPT_COST')).toBe(4)
})
