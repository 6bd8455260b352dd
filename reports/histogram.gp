# reports/histogram.gp - counts per bin: an outline per spec (mean over seeds).
# Columns: middle of the bin, mean, low, high.
if (decades) {
    set xtics 1 format "10^{%.0f}"
}
do for [out in "svg png"] {
    eval out eq "svg" ? svg : png
    set output "../" . name . "." . out
    plot for [i = 1:series] name . ".dat" index i - 1 using 1:($2 > floor ? $2 : floor) with histeps \
             lc rgb palette[color[i]] lw 2 dt dash[i] title columnheader(1)
    unset output
}
