# reports/curve.gp - a quantity over training: a line per spec (mean over seeds) in a band from the
# lowest to the highest seed. Columns: step, mean, low, high.
do for [out in "svg png"] {
    eval out eq "svg" ? svg : png
    set output "../" . name . "." . out
    plot for [i = 1:series] name . ".dat" index i - 1 using 1:3:4 with filledcurves \
             fc rgb palette[color[i]] fs transparent solid 0.2 noborder notitle, \
         for [i = 1:series] name . ".dat" index i - 1 using 1:2 with lines \
             lc rgb palette[color[i]] lw 2 dt dash[i] title columnheader(1)
    unset output
}
