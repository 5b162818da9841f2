// Package api is a node's local door: HTTP with server-sent events on loopback for the browser and for scripts, and the same
// routes on a Unix socket for the command line. openapi.yaml describes it and a test holds the two together both ways.
//
// Who is let in, and what an attacker on the same machine gains:
//
//   - The socket has mode 0600: whoever can open it is this user. It asks for nothing more.
//   - A script on TCP shows the bearer token from a file of mode 0600. A request with an Origin or a Sec-Fetch header comes from a
//     browser, and a browser's bearer token is refused: a page must not be able to use a token it was tricked into holding.
//   - A page needs a cookie and a header token, both given out for a one-time code. Cookies reach every port of localhost,
//     so another program's page has the cookie sent along; it does not have the header token, which lives in the
//     session storage of our origin. A header token alone, read from a screen or a log, opens nothing either.
//   - A one-time code lives two minutes, works once, and is guessed at ten times a minute at most.
//
// Every route asks for one of these, but for the pages, their scripts and styles, which hold no content at all (see node/web), and the
// route that takes the code. Names of hosts other than ours are refused, so that a rebound DNS name reaches nothing.
package api
