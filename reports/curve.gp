# reports/curve.gp - a quantity over an index: a line per spec (mean over seeds) in a band from the
# lowest to the highest seed; thin lines without names are the references of the lines before them.
# Columns: x, mean, low, high.
data = name . ".dat"
bands = "for [i = 1:lines] data index i - 1 using 1:3:4 with filledcurves " \
    . "fc rgb palette[color[i]] fs transparent solid 0.2 noborder notitle, "
under = series == lines ? "" : "for [i = lines + 1:series] data index i - 1 using 1:2 with lines " \
    . "lc rgb palette[color[i]] lw 0.8 dt dash[i] notitle, "
means = "for [i = 1:lines] data index i - 1 using 1:2 with lines " \
    . "lc rgb palette[color[i]] lw 2 dt dash[i] title columnheader(1)"
do for [out in "svg png"] {
    eval out eq "svg" ? svg : png
    set output "../" . name . "." . out
    eval "plot " . bands . under . means
    unset output
}
