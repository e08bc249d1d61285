/**
 * The user's fields as requests bring them, one spelling of each email, and who sees what.
 */
import * as z from 'zod/mini'
import { adminView, fields, normaliseEmail, ownView, publicView } from '../../user/User.ts'
import type { User } from '../../user/UserModel.ts'
import { vectors } from '../support/vectors.ts'

/** What a field becomes, or why it is refused. */
function read(field: keyof typeof fields, input: unknown): unknown {
  const result = z.safeParse(fields[field], input)
  return result.success ? result.data : `refused: ${result.error.issues[0]!.message}`
}

/** What is not text must never reach a query (CWE-943, NoSQL injection). */
const notText = [
  { $ne: null },
  { $gt: '' },
  { $regex: '.*' },
  ['a@example.test'],
  [],
  {},
  7,
  0,
  true,
  null,
  undefined,
]

describe.each(['name', 'email', 'password', 'id'] as const)('%s', (field) => {
  test.each(notText.map((input) => ({ input })))('is not $input', ({ input }) => {
    expect(read(field, input)).toMatch(/^refused: /)
  })

  test('is not half of a surrogate pair, which UTF-8 cannot carry', () => {
    expect(read(field, 'a\ud800b@example.test')).toMatch(/^refused: must be/)
  })
})

describe('a name', () => {
  const EMPTY = 'refused: must not be empty'
  const CONTROL = 'refused: must not contain control characters'

  test.each([
    { name: 'plain', input: 'Ann Lee', want: 'Ann Lee' },
    { name: 'spaces around it', input: '  Ann Lee \n', want: 'Ann Lee' },
    { name: 'é in two code points', input: 'Rene\u0301', want: 'Ren\u00e9' },
    { name: 'an apostrophe', input: "O'Brien-Smith, Jr.", want: "O'Brien-Smith, Jr." },
    { name: 'one character', input: '田', want: '田' },
    { name: 'from right to left', input: 'محمد', want: 'محمد' },
    { name: 'a family of emoji, which joiners hold together', input: '👨‍👩‍👧', want: '👨‍👩‍👧' },
    {
      name: 'a Persian name with its zero-width non-joiner (Unicode section 9.2)',
      input: 'علی\u200cرضا',
      want: 'علی\u200cرضا',
    },
    { name: 'fullwidth letters stay', input: 'Ａｎｎ', want: 'Ａｎｎ' },
    { name: 'markup stays: who shows it escapes it', input: '<b>Ann</b>', want: '<b>Ann</b>' },
    { name: '100 characters', input: 'x'.repeat(100), want: 'x'.repeat(100) },
    { name: '100 characters and spaces around', input: ` ${'x'.repeat(100)} `, want: 'x'.repeat(100) },
    { name: '101 characters', input: 'x'.repeat(101), want: 'refused: must have at most 100 characters' },
    { name: 'empty', input: '', want: EMPTY },
    { name: 'spaces only', input: ' \t\n\u00a0\u3000', want: EMPTY },
    { name: 'a joiner only, which nobody can see', input: '\u200d', want: EMPTY },
    { name: 'joiners around a space', input: '\u200d \u200d', want: EMPTY },
    { name: 'Hangul fillers and empty Braille', input: '\u3164\u2800\u115f', want: EMPTY },
    { name: 'NUL', input: 'Ann\0Lee', want: CONTROL },
    { name: 'a line break', input: 'Ann\nLee', want: CONTROL },
    { name: 'an escape sequence', input: 'Ann\u001b[31m', want: CONTROL },
    { name: 'DEL', input: 'Ann\u007f', want: CONTROL },
    { name: 'a C1 control', input: 'Ann\u0085Lee', want: CONTROL },
    { name: 'a zero-width space', input: 'Ann\u200bLee', want: CONTROL },
    { name: 'a right-to-left override (CVE-2021-42574)', input: 'Ann\u202eeeL', want: CONTROL },
    { name: 'a byte order mark in it', input: 'Ann\ufeffLee', want: CONTROL },
  ])('$name', ({ input, want }) => {
    expect(read('name', input)).toBe(want)
  })
})

describe('an email', () => {
  const NO = 'refused: must be an email address'
  /** 191 characters, in the longest labels that there are. */
  const domain = Array.from({ length: 3 }, () => 'd'.repeat(63)).join('.')

  test.each([
    { name: 'plain', input: 'ann@example.test', want: 'ann@example.test' },
    { name: 'capitals', input: 'Ann.Lee@EXAMPLE.Test', want: 'ann.lee@example.test' },
    { name: 'spaces around it', input: '\t ann@example.test\r\n', want: 'ann@example.test' },
    { name: 'a tag', input: 'ann+news@example.test', want: 'ann+news@example.test' },
    {
      name: 'signs of RFC 5322',
      input: "!#$%&'*+/=?^_`{|}~-@example.test",
      want: "!#$%&'*+/=?^_`{|}~-@example.test",
    },
    { name: 'fullwidth letters and ＠', input: 'ａｎｎ＠ｅｘａｍｐｌｅ．ｔｅｓｔ', want: 'ann@example.test' },
    { name: 'the Kelvin sign', input: '\u212aim@example.test', want: 'kim@example.test' },
    { name: 'a ligature', input: 'o\ufb03ce@example.test', want: 'office@example.test' },
    { name: 'the long s', input: '\u017fam@example.test', want: 'sam@example.test' },
    { name: 'İ, whose small letter has two code points', input: '\u0130nci@example.test', want: NO },
    { name: 'punycode', input: 'ann@xn--bcher-kva.example', want: 'ann@xn--bcher-kva.example' },
    {
      name: '64 characters before the @',
      input: `${'a'.repeat(64)}@b.test`,
      want: `${'a'.repeat(64)}@b.test`,
    },
    { name: '65 before the @ (RFC 5321 section 4.5.3.1.1)', input: `${'a'.repeat(65)}@b.test`, want: NO },
    { name: '254 in all', input: `${'a'.repeat(62)}@${domain}`, want: `${'a'.repeat(62)}@${domain}` },
    { name: '255 in all (RFC 5321 erratum 1690)', input: `${'a'.repeat(63)}@${domain}`, want: NO },
    { name: 'empty', input: '', want: NO },
    { name: 'no @', input: 'ann.example.test', want: NO },
    { name: 'nothing before the @', input: '@example.test', want: NO },
    { name: 'nothing after the @', input: 'ann@', want: NO },
    { name: 'two @', input: 'ann@lee@example.test', want: NO },
    { name: 'a space in it', input: 'ann lee@example.test', want: NO },
    { name: 'two addresses', input: 'ann@example.test,bob@example.test', want: NO },
    { name: 'a display name', input: 'Ann <ann@example.test>', want: NO },
    { name: 'a header in it (CWE-93)', input: 'ann@example.test\r\nBcc: all@example.test', want: NO },
    { name: 'NUL', input: 'ann\0@example.test', want: NO },
    { name: 'a zero-width space', input: 'ann\u200b@example.test', want: NO },
    { name: 'a Cyrillic а that looks like ours', input: '\u0430nn@example.test', want: NO },
    { name: 'a domain that begins with a dot', input: 'ann@.test', want: NO },
    { name: 'two dots in the domain', input: 'ann@example..test', want: NO },
    { name: 'a domain that begins with a hyphen', input: 'ann@-example.test', want: NO },
    { name: 'a label of 64', input: `ann@${'d'.repeat(64)}.test`, want: NO },
    { name: 'very long', input: `${'a'.repeat(4000)}@${'b.'.repeat(2000)}test`, want: NO },
  ])('$name', ({ input, want }) => {
    expect(read('email', input)).toBe(want)
  })

  test.each([
    { name: 'case', a: 'ANN@Example.Test', b: 'ann@example.test' },
    { name: 'spaces', a: ' ann@example.test ', b: 'ann@example.test' },
    { name: 'fullwidth ＠', a: 'ann＠example.test', b: 'ann@example.test' },
    { name: 'composition', a: 'rene\u0301@example.test', b: 'REN\u00c9@example.test' },
    {
      name: 'a letter that is composed in lower case only',
      a: 'J\u030can@example.test',
      b: '\u01f0an@example.test',
    },
    { name: 'capital sharp s', a: 'STRA\u1e9eE@example.test', b: 'stra\u00dfe@example.test' },
  ])('spelt otherwise is the same: $name', ({ a, b }) => {
    expect(normaliseEmail(a)).toBe(normaliseEmail(b))
  })

  const addresses = vectors('emails.json')
  const published = JSON.parse(addresses ?? '[]') as { address: string; expect: string }[]

  test('normalised twice is as normalised once', () => {
    const nasty = [
      'ann＠example.test',
      'o\ufb03ce@example.test',
      '\u0130nci@example.test',
      '\u212aim@example.test',
      '  ann@example.test  ',
      '\u3000ann@example.test\u00a0',
      '\ufeffann@example.test',
      'ΑΣ@example.test',
      'J\u030c@example.test',
      'I\u0307@example.test',
      '\u1e9e@example.test',
      'ﷺ@example.test',
      // NFKC makes a space and an accent of these.
      '\u00b4ann@example.test',
      '\u2017ann@example.test',
      'ann@example.test\u00af',
      '\u00a8',
    ]
    const all = [...nasty, ...published.map(({ address }) => address)]
    expect(all.filter((text) => normaliseEmail(normaliseEmail(text)) !== normaliseEmail(text))).toEqual([])
  })

  ;(addresses ? describe : describe.skip)('published by validator.js, isemail, Django and WPT', () => {
    test.each([
      { verdict: 'accept', want: true },
      { verdict: 'reject', want: false },
    ])('to $verdict: all of them', ({ verdict, want }) => {
      const some = published.filter((row) => row.expect === verdict)
      expect(some.length).toBeGreaterThan(30)
      expect(some.filter(({ address }) => z.safeParse(fields.email, address).success !== want)).toEqual([])
    })
  })
})

test.each([
  { name: 'as it comes', input: ' PassWord\0é ' },
  { name: 'in whatever form: the hash normalises it', input: 'cafe\u0301' },
  { name: 'empty, which is too short for a new one and wrong for an old one', input: '' },
])('a password is read $name', ({ input }) => {
  expect(read('password', input)).toBe(input)
})

test.each([
  { name: '24 hexadecimal digits', input: '65f00000000000000000000a', want: '65f00000000000000000000a' },
  {
    name: 'capitals, which would be a second spelling',
    input: '65F00000000000000000000A',
    want: 'refused: must be an id',
  },
  {
    name: '12 characters, which the driver takes for bytes',
    input: 'twelve bytes',
    want: 'refused: must be an id',
  },
  { name: '23 digits', input: '65f00000000000000000000', want: 'refused: must be an id' },
  { name: '25 digits', input: '65f00000000000000000000a0', want: 'refused: must be an id' },
  { name: 'a line break at the end', input: '65f00000000000000000000a\n', want: 'refused: must be an id' },
  { name: 'empty', input: '', want: 'refused: must be an id' },
])('an id: $name', ({ input, want }) => {
  expect(read('id', input)).toBe(want)
})

describe('a user is seen', () => {
  const createdAt = new Date()
  const user: User = {
    id: '65f00000000000000000000a',
    name: 'Ann',
    email: 'ann@example.test',
    emailVerified: false,
    passwordHash: 'v1$2b$04$secret',
    roles: ['user'],
    disabled: false,
    createdAt,
    tokenVersion: 3,
    sessionVersion: 1,
  }
  // What a later version stores is not shown by an older view.
  const stored = { ...user, totpSecret: 'secret', _id: 'x', __v: 1 }

  test('by everybody: id, name, createdAt', () => {
    expect(publicView(stored)).toEqual({ id: user.id, name: 'Ann', createdAt })
  })

  test('by themselves: no hash, no disabled', () => {
    const { passwordHash: _1, disabled: _2, tokenVersion: _3, sessionVersion: _4, ...own } = user
    expect(ownView(stored)).toEqual(own)
  })

  test('by an admin: no hash, but whether the account is disabled and has a second factor', () => {
    expect(adminView(stored)).toEqual({ ...ownView(user), disabled: false, mfa: false })
  })
})
