import { config } from "zod";

// Imported first. By default zod tests whether it can compile its schemas with `new Function`. The content security
// policy of the page forbids that, and browsers report every attempt.
config({ jitless: true });
