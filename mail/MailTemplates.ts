/**
 * Every mail, as text and as HTML. No mail holds what a stranger has typed, such as a name: whoever registers somebody
 * else's address could send them advertisements by it.
 */
import type { Mail } from './Smtp.ts'
import type { MailJob, Notice } from './MailJobs.ts'

/** What mails say of the product and of the request that they are for. */
export interface Facts {
  /** PRODUCT_NAME. */
  product: string
  /** APP_URL, where the links lead. */
  appUrl: string
  /** When somebody asked for it. */
  time: Date
  /** From which IP address. */
  address: string | undefined
}

interface Content {
  subject: string
  paragraphs: string[]
  link?: { label: string; url: string }
}

/** The mails with a link, by their kind. The token is in the fragment, which browsers send to no server. */
export const linkMails: Record<
  Exclude<MailJob['mail'], 'notice' | 'registeredAlready'>,
  (facts: Facts, token: string) => Content
> = {
  emailVerification: ({ product, appUrl }, token) => ({
    subject: `Confirm your e-mail address for ${product}`,
    paragraphs: [
      `Somebody, probably you, has registered with ${product} under this e-mail address.`,
      'If it was you, please confirm the address within 24 hours. If not, you can ignore this mail.',
    ],
    link: { label: 'Confirm my address', url: `${appUrl}/verify-email#token=${token}` },
  }),
  passwordReset: ({ product, appUrl }, token) => ({
    subject: `Reset your password for ${product}`,
    paragraphs: [
      `Somebody, probably you, has asked to reset the password of your account with ${product}.`,
      'If it was you, choose a new one within 30 minutes; you will be signed out everywhere. If not, you can ignore this mail: your password stays as it is.',
    ],
    link: { label: 'Choose a new password', url: `${appUrl}/reset-password#token=${token}` },
  }),
  emailChange: ({ product, appUrl }, token) => ({
    subject: `Confirm your new e-mail address for ${product}`,
    paragraphs: [
      `Somebody, probably you, wants to use this e-mail address for their account with ${product}.`,
      'If it was you, please confirm the address within 24 hours. If not, you can ignore this mail.',
    ],
    link: { label: 'Use this address', url: `${appUrl}/verify-email#token=${token}` },
  }),
}

export const registeredAlready = ({ product, appUrl }: Facts): Content => ({
  subject: `You have an account with ${product} already`,
  paragraphs: [
    `Somebody, probably you, has tried to register with ${product} under this e-mail address. There is an account already, and nothing was changed.`,
    'If it was you, log in; if you have forgotten the password, or have never confirmed this address, choose a new one with "Forgot password". If it was not you, you can ignore this mail.',
  ],
  link: { label: 'Log in', url: appUrl },
})

const changes: Record<Notice, { subject: string; what: string }> = {
  passwordChanged: {
    subject: 'Your password was changed',
    what: 'the password of your account was changed, and all other devices were signed out',
  },
  passwordReset: {
    subject: 'Your password was reset',
    what: 'the password of your account was replaced by the link in our mail, and all devices were signed out',
  },
  emailChangeRequested: {
    subject: 'Your e-mail address is to be changed',
    what: 'somebody asked to use another e-mail address for your account; it is in force as soon as that address is confirmed',
  },
  emailChanged: {
    subject: 'Your e-mail address was changed',
    what: 'the e-mail address of your account was replaced by another one, and this one does not belong to it any more',
  },
  mfaEnabled: {
    subject: 'A second factor was set up',
    what: 'an authenticator app was set up as the second factor of your account',
  },
  mfaDisabled: {
    subject: 'The second factor was turned off',
    what: 'the second factor of your account was turned off',
  },
  recoveryCodeUsed: {
    subject: 'A recovery code was used',
    what: 'one of your recovery codes was used in place of your authenticator app',
  },
  recoveryCodesReplaced: {
    subject: 'You have new recovery codes',
    what: 'new recovery codes were made for your account, and the old ones do not work any more',
  },
  accountDeleted: {
    subject: 'Your account was deleted',
    what: 'your account was deleted',
  },
}

export function noticeMail({ product, time, address }: Facts, notice: Notice): Content {
  const { subject, what } = changes[notice]
  const when = `${time.toISOString().slice(0, 16).replace('T', ' ')} UTC`
  return {
    subject: `${product}: ${subject.charAt(0).toLowerCase()}${subject.slice(1)}`,
    paragraphs: [
      `On ${when}${address ? `, from the address ${address},` : ''} ${what}.`,
      // Who reads these two has no way to the account any more.
      notice === 'accountDeleted' || notice === 'emailChanged'
        ? 'If this was not you, please tell us at once.'
        : 'If this was not you, reset your password at once with "Forgot password", and tell us.',
    ],
  }
}

/** Lays a mail out, the same words as text and as HTML. */
export function render({ subject, paragraphs, link }: Content, product: string, to: string): Mail {
  const text = [...paragraphs, ...(link ? [`${link.label}:`, link.url] : []), `-- \n${product}`].join('\n\n')
  const paragraph = (html: string) => `<p style="margin:0 0 16px">${html}</p>`
  const button = link
    ? [
        paragraph(
          `<a href="${escape(link.url)}" style="display:inline-block;padding:12px 20px;border-radius:6px;background:#1f4fd8;color:#fff;text-decoration:none">${escape(link.label)}</a>`,
        ),
        paragraph(
          `Or copy this address into your browser:<br><a href="${escape(link.url)}" style="word-break:break-all">${escape(link.url)}</a>`,
        ),
      ]
    : []
  const html = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escape(subject)}</title></head>
<body style="margin:0;padding:24px;font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff">
<div style="max-width:560px;margin:0 auto">
${[...paragraphs.map(escape).map(paragraph), ...button].join('\n')}
<p style="margin:32px 0 0;color:#666">${escape(product)}</p>
</div></body></html>
`
  return { to, subject, text: `${text}\n`, html }
}

const escape = (text: string) => text.replaceAll(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`)
