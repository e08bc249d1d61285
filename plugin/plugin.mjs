/** Lets the Serverless Framework, which loads JavaScript, load the plugin that is written in TypeScript. */
import { require } from 'tsx/cjs/api'

export default require('./Plugin.ts', import.meta.url).AuthPlugin
