import { readFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Secrets } from '../../plugin/Secrets.ts'
import { limits, parseSetting, schema } from '../../api/Settings.ts'

const text = readFileSync('secrets.example.json', 'utf8')
const example = JSON.parse(text) as Record<string, unknown>
const names = Object.keys(example).filter((name) => !name.startsWith('//'))

test('it has every setting that is set by hand, and no other', () => {
  const made = ['VERIFICATION_KEYS', 'API_ID', 'MAIL_FUNCTION_URL']
  expect(names).toEqual(Object.keys(schema).filter((name) => !made.includes(name)))
})

test.each(names)('it says what %s is for', (name) => {
  expect(example[`// ${name}`]).toMatch(/\w{3,}.*\.|Left out/)
})

test('it has every limit as it is when it is left out', () => {
  expect(example['LIMITS']).toEqual(parseSetting('LIMITS', '{}'))
  // In their order too.
  expect(Object.keys(example['LIMITS'] as object)).toEqual(Object.keys(limits))
})

test.each(Object.entries(limits))(
  'it says what the limit %s is for, and the most that a deployment takes',
  (name, [, most]) => {
    expect(example[`// LIMITS.${name}`]).toMatch(new RegExp(`\\w{3,}.* at most ${most}\\.`))
  },
)

test('nobody can deploy its keys', () => {
  const folder = mkdtempSync(join(tmpdir(), 'secrets-example-'))
  try {
    writeFileSync(join(folder, 'secrets.json'), text)
    expect(() => new Secrets(folder, 'dev', {})).toThrow(
      /^Setting SIGNING_KEYS\.keys\.0\.kid must be .* It is read from secrets\.json\.$/,
    )
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('with keys of one’s own in place of the examples, it is a valid file', () => {
  for (const name of ['SIGNING_KEYS', 'PEPPER', 'REFRESH_TOKEN_KEY']) example[name] = process.env[name]
  const folder = mkdtempSync(join(tmpdir(), 'secrets-example-'))
  try {
    writeFileSync(join(folder, 'secrets.json'), JSON.stringify(example))
    expect(new Secrets(folder, 'dev', {}).missing()).toEqual([])
  } finally {
    rmSync(folder, { recursive: true })
  }
})
