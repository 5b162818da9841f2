// Package docs holds the guides, embedded so that `tocsin guide NAME` reads
// them with no network. Its tests hold the rules of the house: who imports
// whom, where the clock is read, what the top level holds, that every package
// says what it is.
package docs

import "embed"

// Files are the guides: one Markdown file each, whose first heading is its
// title.
//
//go:embed *.md
var Files embed.FS
