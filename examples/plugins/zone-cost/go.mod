module zone-cost

go 1.24
