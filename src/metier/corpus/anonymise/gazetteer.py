"""Given names, family names and the words that look like names and are none.

The lists are short on purpose: the most common names of a language find most people, and every rare one more brings
words of manuals with it. An own word list adds the names of a house.
"""

from __future__ import annotations

from metier.corpus.anonymise.kinds import Language

_GIVEN: dict[Language, str] = {
    "en": (
        "Aaron Abigail Adam Adrian Agnes Alan Albert Alec Alex Alexander Alexandra Alexis Alfred Alice Alicia Alison "
        "Allan Allison Alyssa Amanda Amber Amelia Amy Ana Andre Andrea Andrew Angel Angela Angelica Anita Ann Anna "
        "Anne Annette Annie Anthony Antonio April Arlene Arnold Arthur Ashley Audrey Bailey Barbara Barry Beatrice "
        "Becky Benjamin Bernard Bernice Bertha Beth Bethany Betty Beverly Bill Billy Bobby Bonnie Brad Bradley "
        "Brandi Brandon Brandy Brenda Brent Brett Brian Brianna Bridget Brittany Brittney Brooke Bruce Bryan Bryce "
        "Caitlin Caleb Calvin Cameron Candace Candice Candy Carl Carla Carlos Carly Carmen Carol Caroline Carolyn "
        "Carrie Casey Cassandra Cassidy Catherine Cathy Cecilia Chad Charlene Charles Charlie Charlotte Chase "
        "Chelsea Cheryl Chloe Chris Christian Christie Christina Christine Christopher Christy Cindy Claire Clarence "
        "Claudia Clayton Clifford Clinton Cody Cole Colin Colleen Connie Connor Corey Cory Courtney Craig Cristina "
        "Crystal Curtis Cynthia Daisy Dale Dana Daniel Danielle Danny Darius Darlene Darrell Darren Darryl Dave "
        "David Dawn Dean Deanna Debbie Deborah Debra Denise Dennis Derek Derrick Desiree Destiny Devin Diana Diane "
        "Dominic Dominique Don Donald Donna Doris Dorothy Douglas Duane Dustin Dwayne Dylan Earl Ebony Eddie Edgar "
        "Edith Eduardo Edward Edwin Eileen Elaine Eleanor Elijah Elizabeth Ellen Ellis Emily Emma Eric Erica Erik "
        "Erika Erin Ernest Ethan Eugene Eva Evan Evelyn Faith Felicia Fernando Florence Frances Francis Francisco "
        "Frank Franklin Fred Frederick Gabriel Gabriela Gabrielle Gail Garrett Gary Gavin Geoffrey George Gerald "
        "Geraldine Gerard Gilbert Gina Glen Glenda Glenn Gloria Gordon Grace Grant Greg Gregory Gwendolyn Hailey "
        "Haley Hannah Harold Harriet Harry Harvey Hayley Heather Hector Heidi Helen Henry Herbert Herman Holly Hope "
        "Howard Hunter Ian Isaac Isabel Isabella Isaiah Jack Jackie Jackson Jaclyn Jacob Jacqueline Jade Jaime Jake "
        "James Jamie Jane Janet Janice Jared Jasmin Jasmine Jason Javier Jay Jean Jeanette Jeff Jeffery Jeffrey "
        "Jenna Jennifer Jenny Jeremiah Jeremy Jerome Jerry Jesse Jessica Jesus Jill Jim Jimmy Jo Joan Joann Joanna "
        "Joanne Jodi Jody Joe Joel John Johnathan Johnny Jon Jonathan Jordan Jorge Jose Joseph Josephine Joshua Joy "
        "Joyce Juan Juanita Judith Judy Julia Julian Julie Justin Kaitlin Kaitlyn Kara Karen Kari Karina Karla "
        "Katelyn Katherine Kathleen Kathryn Kathy Katie Katrina Kayla Keith Kelli Kellie Kelly Kelsey Kendra Kenneth "
        "Kent Kerry Kevin Kiara Kim Kimberly Kirsten Kristen Kristi Kristie Kristin Kristina Kristine Kristy Krystal "
        "Kurt Kyle Lacey Lance Larry Latoya Laura Lauren Laurie Lawrence Leah Lee Leo Leon Leonard Leroy Leslie "
        "Lewis Linda Lindsay Lindsey Lisa Lloyd Logan Lois Lori Lorraine Louis Louise Lucas Lucy Luis Luke Lynn "
        "Mackenzie Madeline Madison Makayla Marc Marcia Marco Marcus Margaret Maria Mariah Marie Marilyn Mario "
        "Marion Marisa Marissa Marjorie Mark Marlene Marsha Martha Martin Marvin Mary Mason Mathew Matthew Maureen "
        "Maurice Max Megan Meghan Melanie Melinda Melissa Melody Melvin Mercedes Meredith Mia Michael Michaela "
        "Micheal Michele Michelle Miguel Mikayla Mike Mildred Mindy Miranda Misty Mitchell Molly Monica Monique "
        "Morgan Nancy Natalie Natasha Nathan Nathaniel Neil Nicholas Nichole Nicolas Nicole Nina Noah Nora Norma "
        "Norman Olivia Omar Oscar Paige Pamela Patricia Patrick Paul Paula Pauline Peggy Penny Perry Peter Philip "
        "Phillip Phyllis Preston Priscilla Rachael Rachel Ralph Ramon Randall Randy Raymond Rebecca Regina Renee "
        "Rhonda Ricardo Richard Rick Rickey Ricky Riley Rita Robert Roberta Roberto Robin Rodney Roger Roland Ronald "
        "Ronnie Rosa Rose Ross Roy Ruben Ruby Russell Ruth Ryan Sabrina Sally Samantha Samuel Sandra Sandy Sara "
        "Sarah Savannah Scott Sean Sebastian Sergio Seth Shane Shannon Shari Sharon Shaun Shawn Shawna Sheena Sheila "
        "Shelby Shelia Shelley Shelly Sheri Sherri Sherry Sheryl Shirley Sidney Sierra Sonia Sonya Sophia Spencer "
        "Stacey Stacy Stanley Stefanie Stephanie Stephen Steve Steven Stuart Sue Summer Susan Suzanne Sydney Sylvia "
        "Tabitha Tamara Tami Tammy Tanner Tanya Tara Tasha Taylor Teresa Terrance Terri Terry Theodore Theresa "
        "Thomas Tiffany Tim Timothy Tina Todd Tom Tommy Toni Tony Tonya Tracey Traci Tracie Tracy Travis Trevor "
        "Tricia Trinity Tristan Troy Tyler Valerie Vanessa Vernon Veronica Vicki Vickie Victor Victoria Vincent "
        "Virginia Vivian Wade Walter Wanda Warren Wayne Wendy Wesley Whitney William Willie Xavier Yolanda Yvette "
        "Yvonne Zachary Zoe"
    ),
    "de": (
        "Abdullah Achim Adalbert Adelheid Adolf Agathe Agnieszka Ahmet Albrecht Alexandra Alexej Alfons Alina Alma "
        "Almut Alois Alwin Amelie Anatol Andreas Andrej Andrzej Anett Angelika Anja Anke Annegret Annelie Anneliese "
        "Annemarie Annette Annika Ansgar Antje Anton Antonia Armin Arne Arno Astrid August Axel Aylin Balthasar "
        "Barbara Beate Benedikt Benno Bernd Bernhard Bert Betina Bettina Bettine Birgit Birgitt Birte Bjoern Björn "
        "Bodo Boris Brigitta Brigitte Bruno Burkhard Carina Carlotta Carola Carsten Cem Christa Christel Christiane "
        "Christoph Clara Claus Clemens Constanze Cordula Corinna Cornelia Dagmar Daniela Danny Detlef Detlev Dierk "
        "Dieter Diethelm Dietmar Dietrich Dirk Dmitri Doreen Dorothea Dunja Eberhard Eckhard Edda Edeltraud "
        "Edeltraut Edgar Edmund Egon Ekkehard Elena Elfriede Elias Elif Elisabeth Elke Elmar Elsbeth Else Elvira "
        "Emil Emilia Emine Emmi Engelbert Enrico Erhard Erich Erika Ernst Erwin Ester Esther Eugen Evelin Ewa Ewald "
        "Falk Fatma Fedor Felix Ferdi Ferdinand Finn Florian Frank Franz Franziska Frauke Frieda Friederike "
        "Friedhelm Friedrich Fritz Gabi Gabriele Galina Georg Gerd Gerda Gerhard Gerlinde Gernot Gert Gertrud Gesine "
        "Gisela Gitta Gottfried Greta Gretchen Grete Gudrun Guenter Guido Gunda Gundula Gunter Gustav Günter Günther "
        "Hanna Hannelore Hannes Hans Harald Hardy Hartmut Hartwig Hasan Hedi Hedwig Heidrun Heike Heiko Heiner "
        "Heinrich Heinz Helen Helena Helga Helge Hella Helma Helmut Hendrik Henning Henri Henriette Herbert Heribert "
        "Hermann Herta Hilde Hildegard Hilmar Hiltrud Hinrich Holger Horst Hubert Hugo Hüseyin Ida Ignaz Igor Ilja "
        "Ilka Ilona Ilse Imke Ina Ines Inga Inge Ingeborg Ingo Ingolf Ingrid Irena Irene Irina Iris Irma Irmgard "
        "Irmtraud Isabell Isolde Ivan Ivonne Jana Janina Janine Janko Jasmin Jelena Jens Jerzy Jessica Jo Joachim "
        "Jochen Johann Johanna Johannes Jolanta Jonas Jonathan Josef Josephine Juergen Julia Juliane Julius Jutta "
        "Jörg Jörn Jürgen Kai Karin Karl Karla Karsten Kasimir Kaspar Katarzyna Katharina Kathi Kathleen Kathrin "
        "Katja Katrin Kemal Kerstin Kilian Kira Kirsten Kirstin Klara Klaus Konrad Konstantin Korbinian Kornelia "
        "Kristin Krzysztof Kunibert Kurt Käthe Lars Lea Lena Lennard Lennart Leonie Leopold Leopoldine Leyla Liesel "
        "Lieselotte Lina Ljiljana Lorenz Lothar Ludger Ludmila Ludwig Luise Lukas Lutz Lydia Magdalena Maik Maike "
        "Malte Mandy Manfred Manuela Marcel Marco Marek Marga Margarete Margit Margot Margret Margrit Marianne "
        "Marina Mario Marion Marita Markus Marlene Marlies Marlis Martina Marzena Mathias Mathilda Matthias "
        "Maximilian Mechthild Mechtild Mehmet Meike Meinhard Merle Milan Milena Mira Mirjam Mirko Mona Monika Moritz "
        "Murat Mustafa Nadine Nadja Natalia Natalie Natascha Necati Nele Nico Nicole Niels Nikolaus Nils Nina "
        "Norbert Olaf Olga Oliver Orhan Oskar Ottilie Otto Pascal Paula Pauline Pawel Peer Petra Philip Philipp Pia "
        "Piet Piotr Pius Quirin Raimund Rainer Rainhard Ralf Ramona Raphael Rebekka Regine Reiner Reinhard Reinhilde "
        "Reinhold Renate René Ria Rico Roland Rolf Romy Ronny Rosa Rosemarie Rosi Rosina Roswitha Rudi Rudolf "
        "Ruediger Rupert Ruth Rüdiger Sabine Samuel Sandro Sarah Sascha Saskia Sebastian Selma Sergej Serpil Severin "
        "Sibylle Siegbert Siegfried Sieglinde Siegmund Sigrid Silke Silvia Simone Sonja Stanislaw Stefan Stefanie "
        "Steffen Stella Susann Susanne Sven Svenja Svetlana Swen Swetlana Sylke Sören Tanja Tatiana Tatjana Thea "
        "Theo Theodor Theresa Thilo Thorsten Till Tilo Tim Timo Tina Tobias Tom Tomasz Torsten Traudel Traute Udo "
        "Ulf Uli Ulla Ulrich Ulrike Undine Urban Ursel Ursula Uta Ute Uwe Valentin Valeri Vanessa Vera Verena "
        "Veronika Viktor Vinzenz Vladimir Volker Volkmar Walburga Waldemar Walter Waltraud Wenzel Werner Wiebke "
        "Wilfried Wilhelm Wilhelmine Willi Willy Wilma Winfried Wolf Wolfgang Wolfram Xaver Yannick Yusuf Yvonne "
        "Zeynep Zita"
    ),
    "fr": (
        "Adrien Adèle Adélaïde Agathe Agnès Aimé Aimée Alain Albert Alexandre Alexandrie Alfred Aline Alix Alphonse "
        "Amélie Anastasie Anaïs André Andrée Anne Anouk Antoine Antoinette Arnaude Arthur Astrid Auguste Augustin "
        "Aurore Aurélie Benjamin Benoit Benoît Bernadette Bernard Bertrand Brigitte Camille Capucine Caroline "
        "Catherine Chantal Charles Charlotte Christelle Christiane Christine Christophe Claire Claude Claudine "
        "Clémence Colette Constance Corinne Cyril Cécile Célina Céline Daniel Danielle Danièle David Denis Denise "
        "Diane Dominique Dorothée Emma Emmanuel Emmanuelle Eugène Eugénie Fabien Fabienne Fabrice Florence Francis "
        "Franck François Françoise Frédéric Frédérique Gabriel Gabrielle Gaëlle Geneviève Georges Germain Ghislaine "
        "Gilbert Gilberte Gilles Grégoire Guillaume Gustave Guy Gérard Henri Henriette Honoré Hortense Hugues Hélène "
        "Inès Isaac Isabelle Jacqueline Jacques Jean Jeanne Jeannine Joseph Josette Josiane Joséphine Jules Julie "
        "Julien Juliette Jérôme Laetitia Laure Laurence Laurent Liliane Lorraine Louis Louise Luc Lucas Lucie Lucien "
        "Lucy Léon Madeleine Maggie Manon Marc Marcel Marcelle Margaret Margaud Margaux Margot Marguerite Marianne "
        "Marie Marine Marion Marthe Martin Martine Maryse Mathieu Mathilde Matthieu Maurice Maxime Michel Michelle "
        "Michèle Monique Nathalie Nicolas Nicole Noémi Noël Océane Odette Olivie Olivier Pascal Patrice Patricia "
        "Patrick Paul Paulette Pauline Philippe Philippine Pierre Pénélope Raymond Raymonde René Renée Richard "
        "Robert Roger Roland Romain Roseline Rémy Sabine Simone Solène Sophie Stéphane Stéphanie Susanne Suzanne "
        "Sylvain Sylvie Sébastien Thibault Thibaut Thierry Thomas Théodore Thérèse Timothée Tristan Valentine "
        "Valérie Victoire Victor Vincent Virginie Viviane Véronique William Xavier Yann Yves Yvette Zacharie Zoé "
        "Édith Édouard Élisabeth Élise Élodie Éléonore Émile Émilie Éric Étienne"
    ),
    "es": (
        "Alejandra Alejandro Alfonso Andrés Antonia Antonio Arturo Beatriz Blanca Carlos Carmen Catalina Concepción "
        "Consuelo Cristóbal César Diego Dolores Eduardo Elena Emilio Enrique Ernesto Esperanza Esteban Esther "
        "Eugenia Federico Felipe Fernando Francisca Francisco Fátima Gabriela Gonzalo Guadalupe Guillermo Gustavo "
        "Hernán Ignacio Inés Isabel Iván Jaime Javier Jesús Joaquín Jorge Josefa José Juan Juana Juanita Julio Laura "
        "Leticia Lorenzo Lourdes Lucía Luis Luisa Manuel Manuela Marcos Margarita Mariana Mario Marta María Mercedes "
        "Miguel Montserrat Nuria Pablo Paloma Patricio Pedro Pilar Rafael Ramón Raquel Raúl Ricardo Roberto Rocío "
        "Rodrigo Rosario Salvador Santiago Sergio Silvia Soledad Susana Teresa Tomás Vicente Victoria Yolanda Álvaro "
        "Ángel Ángeles Óscar"
    ),
    "it": (
        "Alessandra Alessandro Alessia Andrea Angela Angelo Anna Antonella Antonio Beatrice Bruno Carla Carlo "
        "Caterina Chiara Claudio Cristina Daniela Davide Domenico Elena Eleonora Elisa Emanuele Enrico Fabio "
        "Federica Federico Filippo Francesca Francesco Gabriele Giacomo Gianluca Gianni Giorgio Giovanna Giovanni "
        "Giulia Giuseppe Giuseppina Ilaria Laura Leonardo Lorenzo Luca Lucia Luigi Marco Maria Mario Marta Martina "
        "Massimo Matteo Maurizio Michele Nicola Paola Paolo Pasquale Pietro Raffaele Riccardo Roberta Roberto Rosa "
        "Salvatore Sara Serena Sergio Silvia Simone Stefania Stefano Tommaso Valentina Valeria Vincenzo Vito"
    ),
    "zh": (
        "Chunyan Fang Guoqiang Haiyan Haotian Hongmei Jianguo Jianhua Jiayi Jing Junjie Lihua Lili Meiling Minghui "
        "Qiang Ruoxi Shaohua Tingting Weidong Weiguo Xiaodong Xiaohong Xiaolei Xiaoli Xiaoming Xiuying Xuefeng "
        "Yanling Yifan Yingjie Yuchen Yuhan Zhigang Zhihua Zhiqiang Zihan Zixuan"
    ),
}
# Given names that are words, places or programs too: believed only before a known family name or after a title.
_ALSO_WORDS = (
    "Ada Amber Angel April August Autumn Basil Bill Blanca Brandy Calvin Cameron Camille Candy Carmen Carol Casey "
    "Chance Charity Chase Cherry Chris Christian Claire Clay Cliff Clifford Clinton Cole Constance Consuelo Crystal "
    "Daisy Dale Dallas Dana Darrell Dawn Dean Destiny Diamond Dolores Don Drew Earl Else Emil Ernst Eve Faith Falk "
    "Fang Felicity Florence Francis Frank Franklin Gene Ginger Glen Gordon Grace Grant Guy Hardy Harvey Hope Howard "
    "Hunter Iris Isaac Ivy Jack Jackson Jade Jaime Jasmine Jay Jean Jesus Jing Jo Jordan Joy Julia Kent Kim Lance "
    "Lee Leo Leon Lewis Lily Logan Lucas Madison Marc Marine Marion Mark Mason Max Melody Mercedes Mia Misty "
    "Mitchell Morgan Nick Norma Noël Océane Olive Paris Pat Pearl Penny Perry Pilar Preston Qiang Ray Rich Rick "
    "Riley Rob Robin Rose Ross Roy Ruby Rusty Salvador Sandy Santiago Savannah Sidney Sierra Skip Spencer Stanley "
    "Star Sue Summer Sydney Tanner Taylor Till Trinity Troy Vernon Victoire Victor Victoria Violet Virginia Vito "
    "Wade Warren Wesley Will Wolf"
)
# The most common family names of the US, Germany, France and Spain: what makes a name of "Mark" and of "Max".
_FAMILY = (
    "Adams Albrecht Allen Anderson Arnaud Bailey Baker Barbier Barnes Bauer Baumann Beck Becker Bell Bennett Berger "
    "Bergmann Bernard Bertrand Bianchi Blanc Blanchard Bonnet Boyer Brandt Braun Brooks Brown Brun Brunet Bryant "
    "Busch Butler Böhm Campbell Caron Carter Castillo Chavez Chen Chevalier Clark Clément Coleman Colin Collins "
    "Colombo Cook Cooper Cox Cruz Davis Denis Diaz Dietrich Dubois Dufour Dumont Dupont Durand Duval Edwards Ellis "
    "Engel Esposito Evans Fabre Faure Ferrari Fischer Fisher Flores Fontaine Ford Foster Fournier Frank Franke "
    "Friedrich Fuchs Gaillard Garcia Garnier Gauthier Gautier Gibson Girard Giraud Gomez Gonzalez Graf Graham Gray "
    "Greco Green Griffin Groß Guo Gutierrez Guérin Günther Haas Hahn Hall Hamilton Harris Harrison Hartmann Hayes "
    "Heinrich Henderson Henry Hernandez Herrmann Hill Hoffmann Hofmann Horn Howard Huang Huber Hughes Jackson James "
    "Jenkins Jimenez Johnson Joly Jones Jordan Jung Jäger Kaiser Keller Kelly Kennedy Kim King Klein Koch Kraus "
    "Krause Krämer Krüger Kuhn Köhler König Kühn Lacroix Lambert Lang Lange Laurent Lee Lefebvre Lefèvre Legrand "
    "Lehmann Lemaire Lemoine Leroux Leroy Lewis Liu Long Lopez Lorenz Ludwig Maier Marchand Marie Marino Marshall "
    "Martin Martinez Masson Mathieu Mayer McDonald Mcdonald Meier Mendoza Mercier Meunier Meyer Michel Miller "
    "Mitchell Moore Morales Moreau Morel Morgan Morin Morris Mueller Muller Murphy Murray Myers Möller Müller Nelson "
    "Neumann Nguyen Nicolas Noël Ortiz Otto Owens Parker Patel Patterson Perez Perrin Perry Peters Peterson Phillips "
    "Picard Pohl Powell Price Ramirez Ramos Reed Renard Reyes Reynolds Ricci Richardson Richter Rivera Rivière "
    "Roberts Robin Robinson Roche Rodriguez Rogers Romano Ross Rossi Roth Rousseau Roussel Roux Roy Ruiz Russell "
    "Russo Sanchez Sanders Schmid Schmidt Schmitt Schmitz Schneider Scholz Schreiber Schröder Schubert Schulte "
    "Schulz Schulze Schumacher Schuster Schwarz Schäfer Scott Seidel Simmons Simon Smith Sommer Stein Stevens "
    "Stewart Sullivan Taylor Thomas Thompson Torres Turner Vidal Vincent Vogel Vogt Wagner Walker Wallace Walter "
    "Wang Ward Washington Watson Weber Weiß Werner West White Williams Wilson Winkler Winter Wolf Wood Wright Wu Xu "
    "Yang Young Zhang Zhao Zhou Zhu Ziegler Zimmermann"
)
# Words with a capital that stand beside names or where names stand: headings, products, months, institutions.
_NO_NAMES = (
    "AG Academy Address Admin Administrator Africa Airport Algorithm All Also Amazon America American And Anonymous "
    "Another Any Apache Appendix Apple Apr April Are As Asia At Aug August Author Authors Avec Avenue Bcc Be Bei "
    "Berlin Best Bitte Bonjour Book Books Bot Bridge Britain British Bug But By Cc Central Chapter Cheers China "
    "Chinese Church City Class Client Clients Co Code College Company Contents Contributor Copyright Cordialement "
    "Corp Corporation County Customer Customers Damen Danke Dans Das Data Database Date Day Dear Debian Debug Dec "
    "December Default Demo Department Der Des Description Dezember Die Dienstag Distributed Distribution Donnerstag "
    "Each East Eastern Edition Editor Ein Eine Email England English Equation Error Et Europe European Every "
    "Everybody Everyone Example Examples False Fax Feb Februar February Figure File Files Filter Firma First Folks "
    "For Foundation France Frau Free Freitag French Fri Friday From Function Functions Fwd Für GNU General German "
    "Germany GmbH Google Graph Group Grüße Guest Guten Hello Her Herr Herren Hi His Hospital How If Ihr Ihre In Inc "
    "Index India Indian Info Institut Institute Interface Introduction Is Island Islands Italian Italy Its Jan "
    "Januar January Japan Japanese Java Journal Jul Juli July Jun June Juni Kernel Key Keys Kind Kunde Kundin LLC La "
    "Lake Language Last Le Lemma Les Lesser Library Licence License Licensed Linux List Lists London Ltd Lua Madam "
    "Madame Magazine Mai Mail Mailing Maintainer Manager Many Mar March Master Matrix May Merci Message Method "
    "Methods Microsoft Mit Mittwoch Module Mon Monday Monsieur Montag More Most Mountain Mozilla MySQL März Name "
    "Names New News Next Night No None North Northern Not Note Notes Nov November Null Number Object Oct October "
    "Oder Of Office Oktober Old On Open Options Or Oracle Other Ou Our Overview Package Page Paris Park Patch Perl "
    "Phone Please PostgreSQL Postgres Pour Press Previous Programming Project Public Python Re Reference References "
    "Regards Release Reply Reserved Review Rights River Road Root Ruby Russia Russian Rust SA SARL SQLite Sales Same "
    "Sample Samstag Sat Saturday School Second Section See Sehr Sep September Server Service Services Set Sie "
    "Sincerely Sir Software Some Sonntag Source South Southern Spain Spanish Square State States Station Street "
    "String Subject Such Summary Sun Sunday Support System Systems Table Tag Team Test Thank Thanks That The Their "
    "Then Theorem There These They Third This Those Thu Thursday Time Times Title To Token Tokens Transform Tree "
    "True Tue Tuesday Type Types Ubuntu Un Und Une United University Unix Unknown Update Usage User Users Valley "
    "Value Values Version Viele Von Warning Was Wed Wednesday Week Were West Western What When Where Which Who Why "
    "Windows Wir With World Year Yes Your Yours"
)


def given_names(languages: tuple[Language, ...]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the given names of some languages: those that are nothing else, and those that are words too."""
    names = {name for language in languages for name in _GIVEN[language].split()}
    words = frozenset(_ALSO_WORDS.split()) | NO_NAMES
    return frozenset(names - words), frozenset(names & words)


FAMILY_NAMES = frozenset(_FAMILY.split())
NO_NAMES = frozenset(_NO_NAMES.split())

# The hundred or so most common Chinese family names cover nearly nine in ten people; these are somewhat more.
_ZH_FAMILY = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩冯邓曹彭曾萧田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔"
    "钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤温康施文牛樊葛邢"
    "安齐易乔伍庞颜倪庄聂章鲁岳翟殷詹申欧耿关兰焦俞左柳甘祝包宁尚符舒阮柯纪梅童凌毕季裴霍涂成苗谷盛曲翁冉骆蓝路游"
    "辛靳管柴蒙鲍华喻祁蒲桂楼佟桑刁晏傅褚尤窦费岑滕邬卞卜穆臧茅屈项闵席娄虞裘缪宗宣郁杭洪吉钮嵇荣荀惠甄储糜巫宓郗"
    "仲伊仇栾厉戎祖景郜蔺屠池闻党贡劳冀浦瞿阎茹习艾古戈庾匡寇阙巩晁敖冷阚饶沙鞠荆竺桓卫戚车丛胥姬赖卓苟佘牟宫商肖"
    "尉原燕佴逯单乐练"
)
ZH_FAMILY = frozenset(_ZH_FAMILY)
_ZH_FAMILY_OF_TWO = "欧阳 司马 上官 诸葛 东方 皇甫 尉迟 公孙 慕容 司徒 令狐 夏侯 端木 南宫 独孤 宇文 长孙 轩辕"
ZH_FAMILY_OF_TWO = frozenset(_ZH_FAMILY_OF_TWO.split())
# Characters that are family names and ordinary words before a name: "于王伟" may be "to Wang Wei".
ZH_AMBIGUOUS = frozenset("于向任单成方全和同从时由与找请对经安文金高白万石江华游路关管盛易左章符包")
# What follows a name of two characters more often than a third one belongs to it.
_ZH_FUNCTION = (
    "是的于在和与及或也都就将已被把从到给向对为因请说住来去有会要能可等先女身电手证性号男同又并但，、。；：（"
)
ZH_FUNCTION = frozenset(_ZH_FUNCTION)
_ZH_NO_NAMES = """
    单元 单独 单击 单词 乐观 乐器 乐曲 乐队 练习
    商品 商业 商家 原因 原来 原始 车辆 车间 卫生 习惯 古代 景色 祖国 吉林 伊朗 宫殿 宣布 荣誉 储存 项链
    席位 党员 闻名 沙发 高级 高等 项目 方面 方式 方法 方案 金融 安全 安装 安排 文学 文件 文档 文本 文字
    管理 简介 简单 任务 任何 任意 成功 成员 成为 全部 全局 单位 单个 路径 路由 关系 关于 关闭 万元 江苏
    江西 云南 石头 时间 时候 应用 应该 程序 温度 施工 符号 包括 包含 易用 章节 计算 数学 游戏 游客 关键
    钱包 马上 顾客 严格 白色 黄色 武器 毛病 向上 向下 左右 季度 盛大 华为 方便 常用 常见 成都 解决 于是
    任一 全体
"""
ZH_NO_NAMES = frozenset(_ZH_NO_NAMES.split())
