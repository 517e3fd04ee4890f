module gcr

go 1.25
