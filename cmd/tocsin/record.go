package main

import "github.com/spf13/cobra"

// recordCommand holds everything about the medical record.
func (a *app) recordCommand() *cobra.Command {
	return family("record", "Hand messages to the medical record, keep and erase them by rule, and answer requests for access",
		"  tocsin record fetch 5f3a…c1 --record-url https://record.nhs.example/fhir/R4 --out returned.json",
		a.recordFetch())
}
