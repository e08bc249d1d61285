import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startMailbox } from '../../local/Mailbox.ts'
import { sendBySmtp } from '../../mail/Smtp.ts'

const folder = mkdtempSync(join(tmpdir(), 'mail-'))
afterAll(() => rmSync(folder, { recursive: true }))

const text = 'Hello\n\nUse this address:\n\nhttps://app.test/verify-email#token=x.y\n'

test.each([
  { name: 'an email', to: 'ann@example.com' },
  { name: 'an email that looks like a path', to: '../../a/b|c@example.com' },
  // The longest that a schema takes (RFC 5321 section 4.5.3.1.3), and longer than a file name may be.
  { name: 'an email of 254 characters', to: `${'a'.repeat(64)}@${'b.'.repeat(93)}com` },
  { name: 'an international email of 200 characters', to: `ä${'é'.repeat(60)}@${'é.'.repeat(68)}de` },
])('on a laptop a mail to $name is two files, and its link is printed', async ({ to }) => {
  const printed: string[] = []
  const url = await startMailbox(folder, (line) => printed.push(line))
  await sendBySmtp({ to, subject: 'Hi', text, html: '<p>Hello</p>' }, url, 'no-reply@auth.test')
  expect(printed).toEqual([
    expect.stringMatching(/^Mail to .+, "Hi": https:\/\/app\.test\/verify-email#token=x\.y$/),
  ])

  const [html, plain, ...others] = readdirSync(folder).toSorted()
  expect(others).toEqual([])
  expect(html).toMatch(/\.html$/)
  expect(plain).toMatch(/\.txt$/)
  expect(readFileSync(join(folder, html!), 'utf8')).toContain('<p>Hello</p>')
  expect(readFileSync(join(folder, plain!), 'utf8')).toContain('Subject: Hi\n\nHello\n')
  for (const file of [html, plain]) rmSync(join(folder, file!))
})
