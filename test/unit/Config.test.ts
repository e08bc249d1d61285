/**
 * The settings of a function: parsed once, and named where they are missing or malformed.
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
  let environment: typeof import('../../api/Environment.ts') | undefined
  await jest.isolateModulesAsync(async () => {
    environment = await import('../../api/Environment.ts')
  })
  return environment!
}

test('a setting is parsed once, as the code uses it', async () => {
  const { settingsOf } = await coldStart(KEY)
  const { PEPPER, BCRYPT_COST } = settingsOf(['PEPPER', 'BCRYPT_COST'])
  expect(PEPPER).toEqual(Buffer.from(KEY, 'base64url'))
  expect(BCRYPT_COST).toBe(4)
  process.env['PEPPER'] = 'changed later'
  expect(settingsOf(['PEPPER']).PEPPER).toBe(PEPPER)
})

test.each([{ text: '' }, { text: SECRET }])(
  'a malformed one, "$text", is named by a sentence that does not hold it',
  async ({ text }) => {
    const { settingsOf } = await coldStart(text)
    expect(() => settingsOf(['PEPPER'])).toThrow(
      new Error('Setting PEPPER must be at least 32 random bytes in base64url.'),
    )
  },
)

test('a missing one is named to whoever asks for it, and stops nobody else', async () => {
  const { settingsOf } = await coldStart(undefined)
  expect(() => settingsOf(['BCRYPT_COST', 'PEPPER'])).toThrow(new Error('Setting PEPPER is missing.'))
  expect(settingsOf(['BCRYPT_COST'])).toEqual({ BCRYPT_COST: 4 })
})

test('work at the cold start runs once and at once, and its failure waits for who needs its result', async () => {
  const { atColdStart } = await coldStart(KEY)
  const work = jest.fn(() => ({}))
  const result = atColdStart(work)
  expect(work).toHaveBeenCalledTimes(1)
  expect(result()).toBe(result())
  expect(work).toHaveBeenCalledTimes(1)

  const failed = atColdStart(() => {
    throw new Error('no key')
  })
  expect(failed).toThrow(new Error('no key'))
})
