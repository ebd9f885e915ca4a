import { config } from "zod";

// Imported first. By default, zod tests whether `new Function` works. The content security policy of the page forbids
// `new Function`, and browsers report every attempt.
config({ jitless: true });
