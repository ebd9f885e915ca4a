import { config } from "zod";

// Imported first. By default zod tries whether it may compile its schemas with `new Function`; the page's content
// security policy says no, and browsers report every attempt.
config({ jitless: true });
