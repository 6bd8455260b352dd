# reports/breakdown.gp - three areas that add up, and points that were measured; a negative one (dash
# 2) is hatched. The first area's upper edge is the fit. Columns of the areas: x, low, high; of the
# others: x, value, low, high.
data = name . ".dat"
hatched(i) = dash[i] == 2 ? "pattern 4 transparent" : "solid 0.45"
areas = ""
do for [i = 1:3] {
    areas = areas . sprintf("data index %d using 1:2:3 with filledcurves fc rgb palette[color[%d]] " \
        . "fs %s noborder title columnheader(1), ", i - 1, i, hatched(i))
}
fit = "data index 0 using 1:3 with lines lc rgb palette[color[1]] lw 1.5 notitle"
points = ", for [i = 4:series] data index i - 1 using 1:2:3:4 with yerrorbars " \
    . "lc rgb ink lw 1.2 pt (i == 4 ? 7 : 6) ps size title columnheader(1)"
do for [out in "svg png"] {
    eval out eq "svg" ? svg : png
    set output "../" . name . "." . out
    size = out eq "svg" ? 0.65 : 0.9
    eval "plot " . areas . fit . points
    unset output
}
